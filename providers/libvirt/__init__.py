"""Virtual machines on libvirt hypervisors, several of them in one cluster."""

from __future__ import annotations

from providers.libvirt.provider import LibvirtProvider

__all__ = ["LibvirtProvider"]
