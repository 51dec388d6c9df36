"""What the supervisor keeps running: plain values that go to it as JSON.

Only the standard library is imported here, for the supervisor is a process of its own and stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    :param after: names of processes that must be ready whenever this one is started
    :param gate: a file; the process runs only while it exists. Whoever prepares the process's surroundings writes it
    :param soft_memory_mb: Go's soft memory limit (GOMEMLIMIT) to begin with, in MiB; see `keeper`. 0 for none
    :param stop_deadline: seconds between SIGTERM and SIGKILL
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Probe = field(default_factory=Probe)
    after: tuple[str, ...] = ()
    gate: str = ""
    soft_memory_mb: int = 0
    stop_deadline: float = 10.0


def to_json(process: Process) -> dict[str, Any]:
    """The inverse of `from_json`."""
    return asdict(process)


def from_json(document: Mapping[str, Any]) -> Process:
    """:raises TypeError: an unknown or a missing key"""
    fields = {
        **document,
        "argv": tuple(document["argv"]),
        "after": tuple(document["after"]),
        "ready": Probe(**document["ready"]),
    }
    return Process(**fields)
