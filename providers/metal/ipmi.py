"""IPMI 2.0, by ipmitool: older controllers, and those whose Redfish is not to be had.

Each call is a process of its own, as ipmitool keeps no session. The password goes through its standard input: neither
its arguments nor its environment nor a file hold it.

Limits: there are no virtual media, so that such a host boots from the network. IPMI authenticates with a hash of the
password that a listener on the management network can try to guess; give it a long one (20 characters at most).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from providers.metal.bmc import (
    TIMEOUT,
    BadCredentialsError,
    BMCError,
    BMCUnreachableError,
    BootFrom,
    Media,
    Power,
)

_PORT: Final = 623
_TRIES: Final = ("-N", "3", "-R", "3")
"""Seconds for an answer, and how often one is asked for: UDP loses some."""
_COMMANDS: Final = {
    "On": "on",
    "ForceOff": "off",
    "GracefulShutdown": "soft",
    "GracefulRestart": "cycle",
    "ForceRestart": "reset",
}
"""IPMI has no graceful restart; a power cycle is the next best, for a reset may leave devices as they were."""
_DEVICES: Final[Mapping[BootFrom, str]] = {"Cd": "cdrom", "Pxe": "pxe", "Hdd": "disk"}
_REFUSALS: Final = ("RAKP 2 HMAC is invalid", "unauthorized name", "insufficient resources for session")
"""How ipmitool says that the password is another one, or the user; with the third some controllers say the same."""
_SILENCE: Final = "Unable to establish IPMI"
_SUITES: Final = ("17", "3")
"""Of ciphers, the best first: HMAC-SHA256 and HMAC-SHA1, both with AES. Older controllers have the second only, and
don't answer when they are asked which they have, so they are tried."""
_NO_SUITE: Final = "Error in open session response message"


class Ipmi:
    """:param address: ``ipmi://HOST[:PORT]``"""

    def __init__(self, address: str, username: str, password: str) -> None:
        parts = urlsplit(address)
        self._address, self._password = address, password
        self._suites: tuple[str, ...] = _SUITES
        self._where = ("-H", parts.hostname or "", "-p", str(parts.port or _PORT), "-U", username)

    def facts(self) -> Mapping[str, str]:
        about = _fields(self._ask("mc", "info"))
        known = {
            "uuid": _fields(self._ask("mc", "guid")).get("System GUID", "").lower(),
            "manufacturer": about.get("Manufacturer Name", ""),
            "model": about.get("Product Name", ""),
        }
        return {key: value for key, value in known.items() if value}

    def power(self) -> Power:
        told = self._ask("chassis", "power", "status").lower()
        if told.rstrip().endswith("is on"):
            return "On"
        return "Off" if told.rstrip().endswith("is off") else "Unknown"

    def switch(self, command: Literal["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart"]) -> None:
        self._ask("chassis", "power", _COMMANDS[command])

    def boot_once_from(self, device: BootFrom) -> None:
        self._ask("chassis", "bootdev", _DEVICES[device])

    def insert(self, media: Media) -> None:
        """:raises BMCError: always"""
        del media
        raise BMCError(f"{self._address}: IPMI has no virtual media: write boot: pxe")

    def eject(self) -> None:
        """Nothing can be in."""

    def reset(self) -> None:
        """Needs a boot."""

    def _ask(self, *command: str) -> str:
        """:raises BMCError: it was not done"""
        done = self._told(command)
        while done.returncode != 0 and len(self._suites) > 1 and _NO_SUITE in done.stderr:
            self._suites = self._suites[1:]
            done = self._told(command)
        if done.returncode == 0:
            return done.stdout
        said = done.stderr + done.stdout
        if any(each in said for each in _REFUSALS):
            raise BadCredentialsError(f"{self._address}: it refuses this user or password; mend the Secret")
        if _SILENCE in said:
            raise BMCUnreachableError(f"{self._address}: no answer")
        last = (said.strip() or "no reason given").splitlines()[-1]
        raise BMCError(f"{self._address}: {' '.join(command)}: {last}")

    def _told(self, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        program = shutil.which("ipmitool")
        if program is None:
            raise BMCError(f"{self._address}: ipmitool is not installed: apt-get install ipmitool")
        options = ("-v", "-I", "lanplus", *self._where, "-C", self._suites[0], *_TRIES, "-f", "/dev/stdin")
        try:
            return subprocess.run(
                (program, *options, *command),
                input=self._password,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BMCUnreachableError(f"{self._address}: no answer in {TIMEOUT:.0f} s") from error


def _fields(text: str) -> dict[str, str]:
    """``Name : value``, a line each."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}
