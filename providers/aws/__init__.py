"""Amazon EC2: its instance types and prices."""
