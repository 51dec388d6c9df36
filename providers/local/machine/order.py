"""What a machine's first process is told: one JSON document on its standard input.

It comes by a pipe and not by a file because it carries the bootstrap token; what must stay is written to the machine's
own file system, each file with its own mode.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """``path`` is absolute on the machine."""

    path: str
    content: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """As `autonodes.provider.BootProcess`."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    ready_socket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The machine's place in its cluster's LAN.

    :param lan: the file that pins the LAN's network namespace
    :param port: the name of the LAN's end of the machine's link
    :param address: with its prefix length: ``10.88.3.4/16``
    """

    lan: str
    port: str
    address: str
    mac: str
    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """:param root: the directory that becomes the machine's ``/``
    :param group: its control group
    :param memory: the limit of that group, bytes
    :param cpu: its weight, millicores
    :param programs: the directory that is shown read-only at ``/opt/autonodes/bin``
    :param containerd_root: a directory with the images in it, to start from; "" for an empty one
    :param record: the file that says which process the machine is
    """

    root: str
    record: str
    group: str
    memory: int
    cpu: int
    hostname: str
    machine_id: str
    resolv_conf: str
    network: Network
    programs: str
    containerd_root: str
    files: tuple[File, ...]
    processes: tuple[Process, ...]

    def encode(self) -> bytes:
        """As it goes through the pipe."""
        return json.dumps(asdict(self), default=lambda content: base64.b64encode(content).decode()).encode()

    @classmethod
    def decode(cls, document: bytes) -> Order:
        """:raises ValueError: it was cut off"""
        raw: dict[str, Any] = json.loads(document)
        files = tuple(File(**{**file, "content": base64.b64decode(file["content"])}) for file in raw.pop("files"))
        processes = tuple(Process(**{**process, "argv": tuple(process["argv"])}) for process in raw.pop("processes"))
        return cls(**{**raw, "network": Network(**raw["network"])}, files=files, processes=processes)
