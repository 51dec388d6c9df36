"""Bare metal: an inventory of hosts with management controllers, each given to one tenant at a time."""

from providers.metal.provider import MetalProvider

__all__ = ["MetalProvider"]
