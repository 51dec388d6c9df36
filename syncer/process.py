"""What the supervisor keeps running: plain values that go to it as JSON.

Only the standard library is imported here, for the supervisor is a process of its own and stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """When a process counts as ready; the first of these that is given decides, none means "as soon as it runs".

    :param unix_socket: path of a socket that accepts a connection
    :param https_url: answers 200 to GET, with a certificate signed by ``ca_file``
    :param http_url: answers 200 to GET
    :param deadline: seconds after which a process that is not ready is killed and started again
    """

    unix_socket: str = ""
    https_url: str = ""
    http_url: str = ""
    ca_file: str = ""
    deadline: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process and how to keep it.

    :param argv: the first word is a path; no secret may be in it, /proc shows it to everybody
    :param env: beside the supervisor's own environment
    :param gate: a file that must exist before the first start; whoever prepares the process's surroundings writes it
    :param stop_deadline: seconds between SIGTERM and SIGKILL
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Probe = field(default_factory=Probe)
    gate: str = ""
    stop_deadline: float = 10.0


def to_json(process: Process) -> dict[str, Any]:
    """The inverse of `from_json`."""
    return asdict(process)


def from_json(document: Mapping[str, Any]) -> Process:
    """:raises TypeError: an unknown or a missing key"""
    fields = {**document, "argv": tuple(document["argv"]), "ready": Probe(**document["ready"])}
    return Process(**fields)


def by_name(processes: Sequence[Process]) -> dict[str, Process]:
    return {process.name: process for process in processes}
