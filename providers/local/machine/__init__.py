"""What runs inside a machine: its first process, and how that process makes the machine around itself.

Only the standard library is imported here, and little of it: one such process stays resident for each machine.
"""
