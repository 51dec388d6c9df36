"""Hosts that are always on, by SSH: the simple kind, without a management controller.

"On" means that something of a node runs on it, "off" that nothing does: what would be power elsewhere is here its
programs and its pods' processes. Wiping is a reset: once nothing runs, all that a node leaves is removed, and what was
removed is the proof, at level ``metadata``.

Each call is a login of its own, and what is to be done goes through the shell's standard input. A host that shows
another key than its `BareMetalHost` says is told nothing.

Limits: the host's own system outlives its tenants, who could be root in it through a privileged pod; reserve such hosts
(``reservedFor``). The components must be in ``/opt/autonodes/bin``, archives of images for its pods may be in
``/opt/autonodes/images``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib import resources
from typing import Final, Literal

import asyncssh

from autonodes.api.baremetal import SSH
from autonodes.nocloud import PROGRAMS
from providers.metal.bmc import (
    TIMEOUT,
    BadCredentialsError,
    BadHostKeyError,
    BMCError,
    BMCUnreachableError,
    BootFrom,
    Media,
    Power,
)

_CONNECT: Final = 10.0
_SCRIPT: Final = "/var/lib/autonodes/user-data"


class Ssh:
    """:param private_key: in OpenSSH's or PEM format, without a passphrase"""

    def __init__(self, ssh: SSH, username: str, private_key: str) -> None:
        self._ssh, self._address, self._username = ssh, f"{ssh.address}:{ssh.port}", username
        try:
            self._key = asyncssh.import_private_key(private_key)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            remedy = "write a private key without a passphrase"
            raise BadCredentialsError(f"{self._address}: ssh-privatekey can't be read; {remedy}") from error
        try:
            self._host_key = asyncssh.import_public_key(ssh.host_key)
        except asyncssh.KeyImportError as error:
            raise BadHostKeyError(f"{self._address}: hostKey can't be read; write it as ssh-keyscan does") from error

    def facts(self) -> Mapping[str, str]:
        pairs = (line.partition("=") for line in self._do("facts").splitlines())
        return {name: value for name, _, value in pairs if value}

    def power(self) -> Power:
        return "On" if self._do("power").strip() == "On" else "Off"

    def switch(self, command: Literal["On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart"]) -> None:
        if command != "On":
            self._do("stop")
        if command not in ("ForceOff", "GracefulShutdown"):
            self._do("start")

    def boot_once_from(self, device: BootFrom) -> None:
        """It is up already."""

    def insert(self, media: Media) -> None:
        """The script alone: its system is the image."""
        self._do("put", media.script)

    def eject(self) -> None:
        self._do("eject")

    def reset(self) -> Mapping[str, str]:
        proof: dict[str, str] = json.loads(self._do("reset"))
        return proof

    def _do(self, what: str, content: str = "") -> str:
        """What `host.sh` says when it does this.

        :param content: of the script that is put there
        :raises BMCError: it was not done
        """
        script = resources.files(__package__).joinpath("host.sh").read_text()
        settings = f"programs={PROGRAMS}\nscript={_SCRIPT}\n"
        text = f"{settings}{script}\n{what}_host\n"
        if content:
            text += f"cat >{_SCRIPT}.new <<'AUTONODES-END'\n{content}\nAUTONODES-END\nmv {_SCRIPT}.new {_SCRIPT}\n"
        return asyncio.run(self._told(text))

    async def _told(self, text: str) -> str:
        """:raises BMCError: it was not done"""
        try:
            async with asyncio.timeout(TIMEOUT), self._login() as session:
                shell = "sh -s" if self._username == "root" else "sudo -n sh -s"
                done = await session.run(shell, input=text, check=False)
        except asyncssh.HostKeyNotVerifiable as error:
            raise BadHostKeyError(
                f"{self._address}: it shows another key than spec.ssh.hostKey; was it installed anew?"
            ) from error
        except asyncssh.PermissionDenied as error:
            raise BadCredentialsError(f"{self._address}: it refuses this user or key; mend the Secret") from error
        except (OSError, asyncssh.Error) as error:  # a timeout is an OSError
            raise BMCUnreachableError(f"{self._address}: no answer ({type(error).__name__})") from error
        if done.exit_status != 0:
            last = (str(done.stderr).strip() or "no reason given").splitlines()[-1]
            raise BMCError(f"{self._address}: {last}")
        return str(done.stdout)

    def _login(self) -> asyncssh.connect:
        return asyncssh.connect(
            self._ssh.address,
            self._ssh.port,
            username=self._username,
            client_keys=[self._key],
            known_hosts=([self._host_key], [], []),
            server_host_key_algs=[self._host_key.get_algorithm()],
            agent_path=None,
            config=None,
            connect_timeout=_CONNECT,
        )
