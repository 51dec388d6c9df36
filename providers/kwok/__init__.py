"""Simulated nodes for scale: real Node objects, with kwok in the place of kubelets."""

from providers.kwok.provider import KwokProvider
from providers.kwok.simulator import kwok_command

__all__ = ["KwokProvider", "kwok_command"]
