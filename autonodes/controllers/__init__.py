"""The reconcilers: each moves one part of the cluster towards what the custom resources ask for.

All of them are level-triggered: they look at what is, do the next step and look again, so that a step may be repeated
at any time and a killed process is continued by the next one. They are plain classes with an injected client, caches,
providers and clock; only `operator` knows kopf, and `program` puts them together.
"""
