"""Proving the controllers: they run as they are, against a real API server, in a world that does not keep its word."""
