"""Redfish, by sushy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import requests
import sushy
from sushy import auth, exceptions

from providers.metal.bmc import (
    TIMEOUT,
    BadCertificateError,
    BadCredentialsError,
    BMCError,
    BMCUnreachableError,
    BootFrom,
    Media,
    Power,
)

_CONNECT: Final = 5.0
_POWER: Final[Mapping[Any, Power]] = {
    sushy.PowerState.ON: "On",
    sushy.PowerState.POWERING_OFF: "On",
    sushy.PowerState.OFF: "Off",
    sushy.PowerState.POWERING_ON: "Off",
}
_RESET: Final = {
    "On": sushy.ResetType.ON,
    "ForceOff": sushy.ResetType.FORCE_OFF,
    "GracefulShutdown": sushy.ResetType.GRACEFUL_SHUTDOWN,
    "GracefulRestart": sushy.ResetType.GRACEFUL_RESTART,
    "ForceRestart": sushy.ResetType.FORCE_RESTART,
}
_BOOT: Final = {"Cd": sushy.BootSource.CD, "Pxe": sushy.BootSource.PXE, "Hdd": sushy.BootSource.HDD}


class Redfish:
    """:param address: URL of the system
    :param verify: False, True for the system's authorities, or the path of a file with the certificate of one
    """

    def __init__(self, address: str, username: str, password: str, *, verify: bool | str) -> None:
        self._address, self._verify = address, verify
        self._auth = auth.BasicAuth(username=username, password=password)
        self._system: Any = None

    def facts(self) -> Mapping[str, str]:
        with _translated(self._address):
            system = self._fresh()
            known = {
                "uuid": system.uuid,
                "manufacturer": system.manufacturer,
                "serial": system.serial_number,
                "name": system.name,
                "memory": system.memory_summary.size_gib if system.memory_summary else None,
            }
            return {key: str(value) for key, value in known.items() if value not in (None, "")}

    def power(self) -> Power:
        with _translated(self._address):
            return _POWER.get(self._fresh().power_state, "Unknown")

    def switch(self, command: Literal["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart"]) -> None:
        with _translated(self._address):
            self._fresh().reset_system(_RESET[command])

    def boot_once_from(self, device: BootFrom) -> None:
        with _translated(self._address):
            self._fresh().set_system_boot_options(_BOOT[device], enabled=sushy.BootSourceOverrideEnabled.ONCE)

    def insert(self, media: Media) -> None:
        with _translated(self._address):
            drives = self._drives()
            if len(drives) < 2:
                raise BMCError(f"{self._address}: it has {len(drives)} virtual drives; two are needed, or boot: pxe")
            for drive, url in zip(drives, (media.image, media.seed_url), strict=False):
                if drive.inserted:
                    drive.eject_media()
                drive.insert_media(url)

    def eject(self) -> None:
        with _translated(self._address):
            for drive in self._drives():
                if drive.inserted:
                    drive.eject_media()

    def reset(self) -> None:
        """Needs a boot."""

    def _drives(self) -> list[Any]:
        """The one to boot from first."""
        system = self._fresh()
        owners = [system, *system.managers]
        for owner in owners:
            with contextlib.suppress(exceptions.MissingAttributeError, exceptions.ResourceNotFoundError):
                media = [each for each in owner.virtual_media.get_members() if each.media_types]
                if media:
                    return sorted(media, key=lambda each: not _is_disc(each))
        return []

    def _fresh(self) -> Any:
        if self._system is None:
            parts = urlsplit(self._address)
            root = sushy.Sushy(
                f"{parts.scheme}://{parts.netloc}",
                auth=self._auth,
                verify=self._verify,
                server_side_retries=0,
                read_timeout=TIMEOUT,
                connect_timeout=_CONNECT,
            )
            self._system = root.get_system(parts.path)
            return self._system
        self._system.invalidate()
        self._system.refresh(force=True)
        return self._system


def _is_disc(drive: Any) -> bool:
    kinds = (sushy.VirtualMediaType.CD, sushy.VirtualMediaType.DVD)
    return any(kind in kinds for kind in drive.media_types)


@contextlib.contextmanager
def _translated(address: str) -> Iterator[None]:
    """sushy's errors, and those that it lets through, as ours; none of their texts holds a password."""
    try:
        yield
    except exceptions.AccessError as error:
        raise BadCredentialsError(f"{address}: it refuses this user or password; mend the Secret") from error
    except exceptions.ConnectionError as error:
        if "CERTIFICATE" in str(error).upper():
            remedy = "put the authority's certificate into the Secret as ca.crt"
            raise BadCertificateError(f"{address}: its certificate is not trusted; {remedy}") from error
        raise BMCUnreachableError(f"{address}: no answer ({type(error).__name__})") from error
    except exceptions.SushyError as error:
        raise BMCError(f"{address}: {error}") from error
    except requests.RequestException as error:
        raise BMCUnreachableError(f"{address}: no answer ({type(error).__name__})") from error
