"""The one door to Kubernetes: the client, list+watch caches, decoding, events, leases.

Nothing else in this project speaks HTTP to an API server, and nothing here decides anything.
"""
