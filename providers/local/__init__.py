"""Nodes on this machine: real containerd and kubelet in namespaces and a control group of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]


def __getattr__(name: str) -> object:
    """Import the provider when it is asked for: a machine's first process is in this package too and stays small."""
    if name == "LocalProvider":
        from providers.local.provider import LocalProvider

        return LocalProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
