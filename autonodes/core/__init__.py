"""The pure part: values and decisions. No I/O, no clock, no logging; the same snapshot gives the same plan."""
