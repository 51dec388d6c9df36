"""What this host has and what it lacks: its size, and the kernel features and tools that a namespaced node needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from providers.local import cgroups

_TOOLS: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "cp": "coreutils",
}
"""Tool → Debian package."""

_REQUIRED_CONTROLLERS: Final = frozenset({"cpu", "cpuset", "memory"})
_MODULES: Final = ("overlay", "br_netfilter", "veth", "vxlan", "nf_tables", "nf_conntrack")
_INOTIFY_INSTANCES: Final = 8192
"""Of one user, all nodes together; each containerd, kubelet and log follower takes some, and Linux allows 128."""

_PROBE: Final = """
mount -t tmpfs tmpfs /run
mount -t overlay overlay -o lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work {probe}/merged
ip link add br0 type bridge
ip link add one type veth peer name two
nft add table inet probe
"""


@dataclass(frozen=True, slots=True)
class Size:
    """:param cpu: millicores
    :param memory: bytes
    :param disk: bytes of the file system that holds the machines
    """

    cpu: int
    memory: int
    disk: int


def size(directory: Path) -> Size:
    """This host's, as a kubelet on it will see it (cAdvisor reads the same figures)."""
    status = os.statvfs(directory)
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    total = next(line.split()[1] for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    return Size(cpu=1000 * (os.cpu_count() or 1), memory=1024 * int(total), disk=status.f_frsize * status.f_blocks)


def find_binaries(names: Iterable[str], directories: Sequence[Path]) -> dict[str, str]:
    """Where the components are, the first directory that has one first.

    :raises EnvironmentFault: some are nowhere
    """
    search = os.pathsep.join(str(directory) for directory in directories)
    found = {name: shutil.which(name, path=search) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise EnvironmentFault(
            f"components are missing: {', '.join(missing)}",
            f"`autonodes components --fetch` gets them (looked in {search})",
        )
    return {name: str(Path(path).resolve()) for name, path in found.items() if path}


async def check(directory: Path) -> None:
    """Make sure that nodes can be made here, their files under ``directory``, which exists.

    :raises EnvironmentFault: with the remedy
    """
    check_root(os.geteuid())
    check_tools()
    check_controllers(cgroups.hierarchies())
    check_groups()
    check_flags(directory)
    await _load_modules()
    await _probe(directory)
    _raise_inotify_limit()


def check_root(uid: int) -> None:
    """:raises EnvironmentFault: not root"""
    if uid != 0:
        raise EnvironmentFault(
            "nodes on this machine need root (namespaces, mounts, control groups)",
            "run it with sudo, or take simulated nodes, which need no root: `--provider kwok`",
        )


def check_tools(path: str | None = None) -> None:
    """:param path: instead of ``$PATH``
    :raises EnvironmentFault: a tool is missing
    """
    missing = {tool: package for tool, package in _TOOLS.items() if shutil.which(tool, path=path) is None}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise EnvironmentFault(f"not installed: {', '.join(missing)}", f"apt-get install {packages}")


def check_controllers(found: Sequence[cgroups.Hierarchy]) -> None:
    """:raises EnvironmentFault: the kernel or the mounts lack a controller that kubelet and runc insist on"""
    present = {name for hierarchy in found for name in hierarchy.controllers}
    for hierarchy in found:
        with contextlib.suppress(OSError):
            if hierarchy.unified:
                present.update(Path(hierarchy.mount_point, "cgroup.controllers").read_text(encoding="ascii").split())
    if missing := sorted(_REQUIRED_CONTROLLERS - present):
        raise EnvironmentFault(
            f"no control groups for: {', '.join(missing)}",
            "mount the cgroup file systems, and enable the controllers on the kernel's command line "
            "(`cgroup_enable=memory`)",
        )


def check_groups() -> None:
    """:raises EnvironmentFault: no control group can be made"""
    group = f"{cgroups.ROOT}/probe-{os.getpid()}"
    try:
        cgroups.create(group, cgroups.Limits(memory=2**30, cpu_weight=1000))
    except OSError as error:
        raise EnvironmentFault(
            f"control groups can't be made here: {error}",
            "in a container, give it a writable /sys/fs/cgroup (`--privileged --cgroupns=host`), "
            "or take simulated nodes: `--provider kwok`",
        ) from error
    finally:
        cgroups.remove(group)


def check_flags(directory: Path) -> None:
    """:raises EnvironmentFault: the file system refuses what a node's must do"""
    flags = os.statvfs(directory).f_flag
    names = {"noexec": os.ST_NOEXEC, "nodev": os.ST_NODEV, "nosuid": os.ST_NOSUID}
    if refused := [name for name, flag in names.items() if flags & flag]:
        raise EnvironmentFault(
            f"{directory} is mounted with {','.join(refused)}, so containers can't run from it",
            "set AUTONODES_HOME to a directory on another file system",
        )


async def _load_modules() -> None:
    """Best effort: most load by themselves when they are used, and a kernel may have them built in."""
    if modprobe := shutil.which("modprobe"):
        process = await asyncio.create_subprocess_exec(
            modprobe, "-a", "-q", *_MODULES, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await process.wait()


async def _probe(directory: Path) -> None:
    """Try everything that a node needs of the kernel, in namespaces that end with the attempt."""
    probe = directory / f".probe-{os.getpid()}"
    try:
        for name in ("lower", "upper", "work", "merged"):
            (probe / name).mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--fork"),
            *("sh", "-ec", _PROBE.format(probe=probe)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    if process.returncode != 0:
        raise EnvironmentFault(
            f"this kernel or container does not allow what a node needs: {said.decode(errors='replace').strip()}",
            "nodes need namespaces, overlayfs on the state directory's file system, veth, bridge and nftables; "
            "AUTONODES_HOME chooses another directory, and `--provider kwok` needs none of it",
        )


def _raise_inotify_limit() -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    with contextlib.suppress(OSError):  # in a container it is read-only, and a few nodes may do
        if int(limit.read_text(encoding="ascii")) < _INOTIFY_INSTANCES:
            limit.write_text(str(_INOTIFY_INSTANCES), encoding="ascii")
