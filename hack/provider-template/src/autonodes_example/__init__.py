"""Nodes from example for autonodes."""
