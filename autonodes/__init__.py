"""autonodes: nodes for virtual Kubernetes clusters, bought when pods wait and given back when they no longer pay."""

__version__ = "0.1.0"
