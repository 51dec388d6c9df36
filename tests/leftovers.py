"""What a cluster can leave on a machine, so that a test can compare before and after."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

_PROGRAMS = frozenset(
    {
        "kube-apiserver",
        "kube-controller",
        "kube-controller-manager",
        "kube-scheduler",
        "kine",
        "kubelet",
        "kube-proxy",
        "containerd",
        "containerd-shim",
        "containerd-shim-runc-v2",
        "flanneld",
        "coredns",
        "kwok",
        "pause",
    }
)


@dataclass(frozen=True)
class Footprint:
    """Everything on this machine that a cluster makes; equal footprints mean that nothing is left."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    tables: frozenset[str]

    @classmethod
    def now(cls) -> Footprint:
        return cls(
            processes=frozenset(_processes()),
            mounts=frozenset(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
            namespaces=frozenset(_lines("ip", "netns", "list")),
            links=frozenset(line.split(":")[1].strip() for line in _lines("ip", "-o", "link")),
            cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").rglob("autonodes*") if path.is_dir()),
            tables=frozenset(_lines("nft", "list", "tables")),
        )

    def added_since(self, before: Footprint) -> dict[str, list[str]]:
        """What is here now and was not before, by kind; empty when nothing is left."""
        added = {kind.name: sorted(getattr(self, kind.name) - getattr(before, kind.name)) for kind in fields(self)}
        return {kind: entries for kind, entries in added.items() if entries}


def _processes() -> list[str]:
    """Programs of Kubernetes and of this project, with their process number."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = Path(words[0]).name
        ours = "python" in program and any(word.startswith(("autonodes", "joiner.", "providers.")) for word in words)
        ours = ours or ("python" in program and any(word.endswith("/autonodes") for word in words))
        if program in _PROGRAMS or ours:
            found.append(f"{directory.name} {' '.join(words)[:120]}")
    return found


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
