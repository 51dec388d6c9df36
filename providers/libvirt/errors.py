"""What libvirt's errors mean, in one table."""

from __future__ import annotations

from typing import Final

import libvirt

from autonodes.provider import CreateError, ProviderError


class HypervisorGoneError(ProviderError):
    """A hypervisor does not answer: nothing may be concluded about its machines."""

    def __init__(self, uri: str, why: object) -> None:
        super().__init__(uri, str(why))
        self.uri, self.why = uri, str(why)

    def __str__(self) -> str:
        return f"hypervisor {self.uri} can't be reached: {self.why}"


MISSING: Final = frozenset(
    {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_DOMAIN_METADATA,
        libvirt.VIR_ERR_NO_NODE_DEVICE,
    }
)
"""What was looked up does not exist."""

_REASONS: Final = {
    libvirt.VIR_ERR_NO_STORAGE_POOL: "StoragePoolNotFound",
    libvirt.VIR_ERR_NO_NETWORK: "NetworkNotFound",
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "ConfigurationUnsupported",
    libvirt.VIR_ERR_XML_ERROR: "ConfigurationInvalid",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "ConfigurationInvalid",
    libvirt.VIR_ERR_AUTH_FAILED: "AccessDenied",
    libvirt.VIR_ERR_ACCESS_DENIED: "AccessDenied",
    libvirt.VIR_ERR_NO_SUPPORT: "Unsupported",
    libvirt.VIR_ERR_RESOURCE_BUSY: "ResourceBusy",
}
_OTHERWISE: Final = "LaunchFailed"


def is_missing(error: libvirt.libvirtError) -> bool:
    """Whether it says that what was looked up does not exist."""
    return error.get_error_code() in MISSING


def refused(error: libvirt.libvirtError, uri: str) -> CreateError:
    """A launch that the hypervisor refused: what is to be told."""
    return CreateError(_REASONS.get(error.get_error_code(), _OTHERWISE), f"{uri}: {said(error)}")


def said(error: libvirt.libvirtError) -> str:
    """The hypervisor's words, on one line."""
    return " ".join((error.get_error_message() or str(error)).split())
