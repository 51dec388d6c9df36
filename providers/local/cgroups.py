"""Control groups of both versions: one group, at the same path in every hierarchy that this host has mounted.

A version 1 host has a hierarchy for each controller (and often a version 2 one beside them, without controllers), a
version 2 host has one. A machine is in all of them, so that each of its processes can be found and counted by any.

Everything below a group belongs to its machine: that is how its processes are found when nothing else is known of
them. Processor time is shared by weight and not capped: version 1 refuses a container whose limit is above the quota of
its parent, so a pod with a generous limit would not start on a small machine.

Only the standard library is used: a machine's first process imports this too.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Final

ROOT: Final = "autonodes"
"""The group above all machines of this host."""

_ATTEMPTS: Final = 5
_CONTROLLERS: Final = frozenset(
    {
        *("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"),
        *("net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc"),
    }
)
_WANTED_V2: Final = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """:param mount_point: where this host shows it
    :param controllers: of version 1, with ``name=…`` for one that has none; empty for version 2
    """

    mount_point: str
    controllers: tuple[str, ...]

    @property
    def unified(self) -> bool:
        """Whether it is version 2."""
        return not self.controllers


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """:param memory: bytes for all processes together, page cache included
    :param cpu_weight: millicores; what the group gets of a busy host, in relation to its neighbours
    """

    memory: int
    cpu_weight: int


def parse_mounts(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies in the text of ``/proc/self/mountinfo`` (proc(5)), each once, however often it is mounted."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        _, _, device, _, mount_point, *_ = fields.split(" ")
        kind, _, options = tail.split(" ")[:3]
        if kind == "cgroup2":
            found.setdefault(device, Hierarchy(mount_point, ()))
        elif kind == "cgroup":
            names = tuple(name for name in options.split(",") if name in _CONTROLLERS or name.startswith("name="))
            found.setdefault(device, Hierarchy(mount_point, names))
    return tuple(found.values())


def hierarchies() -> tuple[Hierarchy, ...]:
    """What this process sees mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mounts(file.read())


def create(group: str, limits: Limits) -> None:
    """Make ``group`` (``autonodes/CLUSTER/UID``) in every hierarchy; one that exists only gets its limits."""
    for hierarchy in hierarchies():
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                _make_all(hierarchy, group)
                break
            except FileNotFoundError:  # a neighbour's removal took an empty parent away
                if not attempts_left:
                    raise
        _limit(hierarchy, f"{hierarchy.mount_point}/{group}", limits)


def join(group: str) -> None:
    """Move this process into ``group``, in every hierarchy; its children will be born there."""
    for hierarchy in hierarchies():
        _write(f"{hierarchy.mount_point}/{group}/cgroup.procs", "0")


def join_leaf(group: str, name: str) -> None:
    """Move this process from ``group`` into a group right below it that has no children of its own."""
    for hierarchy in hierarchies():
        path = f"{hierarchy.mount_point}/{group}"
        _make(hierarchy, path, f"{path}/{name}")
        _write(f"{path}/{name}/cgroup.procs", "0")


def members(group: str) -> frozenset[int]:
    """The processes in ``group`` and below, in any hierarchy. Empty when there is no such group."""
    found: set[int] = set()
    for directory in _directories(group):
        try:
            found.update(int(word) for word in _read(f"{directory}/cgroup.procs").split())
        except OSError:
            continue  # the group went between the listing and the reading
    return frozenset(found)


def kill(group: str) -> int:
    """Send SIGKILL to all members; returns how many there were. Repeat until there are none: they may fork."""
    doomed = members(group)
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(doomed)


def remove(group: str) -> bool:
    """Remove ``group`` and all below it, and the groups above it that are empty then.

    :returns: False when something is left, as a process in it is still dying: try again
    """
    gone = True
    for directory in _directories(group):
        gone = _remove(directory) and gone
    for hierarchy in hierarchies():
        parent = os.path.dirname(group)
        while parent and _remove(f"{hierarchy.mount_point}/{parent}"):
            parent = os.path.dirname(parent)
    return gone


def children(group: str) -> frozenset[str]:
    """The names of the groups right below ``group``, in any hierarchy."""
    found: set[str] = set()
    for hierarchy in hierarchies():
        try:
            with os.scandir(f"{hierarchy.mount_point}/{group}") as entries:
                found.update(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            continue
    return frozenset(found)


def _directories(group: str) -> list[str]:
    """The directories of ``group`` and all below it in every hierarchy, the deepest first."""
    return [
        directory
        for hierarchy in hierarchies()
        for directory, _, _ in os.walk(f"{hierarchy.mount_point}/{group}", topdown=False)
    ]


def _make_all(hierarchy: Hierarchy, group: str) -> None:
    path = hierarchy.mount_point
    for part in group.split("/"):
        parent, path = path, f"{path}/{part}"
        if hierarchy.unified:
            _delegate(parent)
        _make(hierarchy, parent, path)


def _make(hierarchy: Hierarchy, parent: str, path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    if "cpuset" in hierarchy.controllers:  # a new cpuset is empty, and an empty one takes no process
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not _read(f"{path}/{file}").strip():
                _write(f"{path}/{file}", _read(f"{parent}/{file}"))


def _delegate(parent: str) -> None:
    """Let the children of a version 2 group have controllers; those that it doesn't have itself can't be had."""
    available = _read(f"{parent}/cgroup.controllers").split()
    wanted = " ".join(f"+{name}" for name in _WANTED_V2 if name in available)
    if wanted:
        _write(f"{parent}/cgroup.subtree_control", wanted)


def _limit(hierarchy: Hierarchy, path: str, limits: Limits) -> None:
    # cpu.shares: 1024 is one core's worth, 2 the least; cpu.weight: 1..10000, 100 the default (cgroups(7))
    wanted = {
        "memory.max": str(limits.memory),
        "cpu.weight": str(min(10000, max(1, limits.cpu_weight // 10))),
    }
    if not hierarchy.unified:
        wanted = {
            "memory.limit_in_bytes": str(limits.memory),
            "cpu.shares": str(max(2, limits.cpu_weight * 1024 // 1000)),
        }
    for file, value in wanted.items():
        if os.path.exists(f"{path}/{file}"):
            _write(f"{path}/{file}", value)


def _remove(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:  # EBUSY: a process or a group is left in it
        return False
    return True


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
