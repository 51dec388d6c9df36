"""A management controller, or what stands in for one, as the rest sees it, and what can be wrong with one.

Calls block (sushy does) and are made in threads; each ends within `TIMEOUT`, so that a controller that hangs holds up
one thread for that long and nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from autonodes.provider import ProviderError

TIMEOUT: Final = 30.0
"""Seconds for one answer of a controller."""

Power = Literal["On", "Off", "Unknown"]
BootFrom = Literal["Cd", "Pxe", "Hdd"]


class BMCError(ProviderError):
    """It did not do what it was asked; the call may be repeated."""

    reason = "BMCError"


class BMCUnreachableError(BMCError):
    """No answer."""

    reason = "BMCUnreachable"


class BadCredentialsError(BMCError):
    """It does not know this user, or not this password."""

    reason = "BadCredentials"


class BadCertificateError(BMCError):
    """Its certificate can't be trusted."""

    reason = "BadCertificate"


class BadHostKeyError(BMCError):
    """Whoever answers at a host's address is not that host."""

    reason = "BadHostKey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What a host is to boot.

    :param image: URL
    :param seed_url: of a NoCloud volume with `script`
    :param script: what makes the booted image what it is to be; holds secrets
    """

    image: str
    seed_url: str = field(repr=False)
    script: str = field(repr=False)


class BMC(Protocol):
    def facts(self) -> Mapping[str, str]:
        """``uuid``, and what else it knows: ``manufacturer``, ``model``, ``serial``, ``memory``, ``processors``.

        :raises BMCError: it can't say
        """
        ...

    def power(self) -> Power:
        """:raises BMCError: it can't say"""
        ...

    def switch(self, command: Literal["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart"]) -> None:
        """Accepted is not done.

        :raises BMCError: not even accepted
        """
        ...

    def boot_once_from(self, device: BootFrom) -> None:
        """:raises BMCError: it was not set"""
        ...

    def insert(self, media: Media) -> None:
        """Two virtual drives: what to boot, and its seed; whatever was in is out.

        :raises BMCError: not inserted
        """
        ...

    def eject(self) -> None:
        """:raises BMCError: something may still be in"""
        ...

    def reset(self) -> Mapping[str, str] | None:
        """Remove what its tenant left, if that needs no boot: what was done, with its ``level``. None if it does.

        :raises BMCError: something may still be there
        """
        ...
