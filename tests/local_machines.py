"""Real machines for tests: a cluster's context, a bootstrap without an API server, and a look at what is left over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from autonodes.components import locate
from autonodes.kube.client import KubeClient
from autonodes.provider import (
    BootFile,
    BootPlan,
    BootProcess,
    Bootstrap,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeSettings,
    ProviderContext,
)
from joiner.oci import Image, write_archive
from providers.local import LocalProvider, cgroups
from providers.local.provider import BINARIES

GIB = 2**30
NODE_CLASS: Mapping[str, Any] = {"metadata": {"name": "default"}, "spec": {}}
BUSYBOX = "autonodes.io/busybox:test"
PAUSE = "autonodes.io/pause:1"
WITHIN = 60.0
"""Seconds after which something that should happen counts as not happening, on a busy machine too."""

_CONTAINERD = f"""\
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin", "/opt/autonodes/bin"]
"""


@functools.cache
def component_dirs() -> tuple[Path, ...]:
    """From AUTONODES_COMPONENTS and then the cache; the test fails without."""
    found, missing = locate(BINARIES)
    if missing:
        raise AssertionError(f"no {', '.join(map(str, missing))}: `autonodes components --fetch` gets them")
    return tuple(dict.fromkeys(binary.path.parent for binary in found.values()))


@dataclass(frozen=True)
class Standalone:
    """A node without a cluster: its kubelet runs the static pods that it is given."""

    node_name: str
    pods: Sequence[Mapping[str, Any]] = ()
    network: Mapping[str, Any] = field(default_factory=dict)

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "staticPodPath": "/etc/kubernetes/manifests",
            "readOnlyPort": 10255,
            "failSwapOn": False,
            "maxPods": settings.max_pods,
            "systemReserved": dict(settings.system_reserved),
            **settings.kubelet,
        }
        arguments = ("--config=/etc/kubernetes/kubelet.yaml", f"--hostname-override={self.node_name}")
        return BootPlan(
            node_name=self.node_name,
            files=(
                BootFile(path="/etc/containerd/config.toml", content=_CONTAINERD.encode()),
                BootFile(path="/etc/kubernetes/kubelet.yaml", content=yaml.safe_dump(config).encode(), mode=0o600),
                BootFile(path="/etc/cni/net.d/10-pods.conflist", content=json.dumps(self.network).encode()),
                *(
                    BootFile(path=f"/etc/kubernetes/manifests/{index}.json", content=json.dumps(pod).encode())
                    for index, pod in enumerate(self.pods)
                ),
            ),
            processes=(
                BootProcess(
                    name="containerd",
                    argv=("containerd", "--config=/etc/containerd/config.toml"),
                    ready_socket="/run/containerd/containerd.sock",
                ),
                BootProcess(name="kubelet", argv=("kubelet", *arguments, f"--node-ip={settings.node_ip}")),
            ),
        )


@dataclass(frozen=True)
class Idle:
    """A machine that is not a node: it boots in no time and runs nothing but containerd."""

    node_name: str

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        del settings
        config = BootFile(path="/etc/containerd/config.toml", content=_CONTAINERD.encode())
        return BootPlan(
            node_name=self.node_name,
            files=(config, BootFile(path="/etc/kubernetes/secret", content=b"hush", mode=0o600)),
            processes=(BootProcess(name="containerd", argv=("containerd", "--config=/etc/containerd/config.toml")),),
        )


def image_archives(directory: Path) -> tuple[Path, ...]:
    """Two small images: a shell, and what holds a pod's namespaces."""
    shell = {"/bin/busybox": Path("/bin/busybox").resolve()}
    links = {f"/bin/{applet}": "busybox" for applet in ("sh", "sleep", "ping", "nc", "head", "tail", "cat")}
    images = (
        Image(reference=BUSYBOX, files=shell, links=links, command=("/bin/sh",)),
        Image(reference=PAUSE, files=shell, links=links, entrypoint=("/bin/sleep", "1000000")),
    )
    archives = []
    for index, image in enumerate(images):
        archives.append(directory / f"{index}.tar")
        write_archive(image, archives[-1])
    return tuple(archives)


@dataclass(frozen=True)
class Cluster:
    """A cluster that has machines on this host, seen by its provider."""

    context: ProviderContext
    provider: LocalProvider

    async def request(self, bootstrap: Bootstrap, *, uid: str = "", size: str = "local.small") -> LaunchRequest:
        types = await self.provider.instance_types(NODE_CLASS)
        chosen = next(each for each in types if each.name == size)
        return LaunchRequest(
            claim_uid=uid or str(uuid.uuid4()),
            claim_name=bootstrap.node_name,
            node_pool="default",
            candidates=((chosen, chosen.offerings[0]),),
            node_class=NODE_CLASS,
            labels={},
            taints=(),
            bootstrap=bootstrap,
        )

    async def create(self, bootstrap: Bootstrap, *, uid: str = "", size: str = "local.small") -> Machine:
        return await self.provider.create(await self.request(bootstrap, uid=uid, size=size))

    async def delete(self, machine: Machine) -> None:
        """Until nothing is left of it, as a controller does."""
        with contextlib.suppress(MachineNotFoundError):
            for _ in range(3):
                await self.provider.delete(machine.provider_id)
            raise AssertionError(f"{machine.provider_id} does not go")

    def directory(self, machine: Machine) -> Path:
        return self.context.state_dir / "local" / "machines" / machine.claim_uid

    def processes(self, uid: str) -> frozenset[int]:
        return cgroups.members(f"{self.provider.group}/{uid}")

    async def inside(self, machine: Machine, *command: str, check: bool = True) -> str:
        """Standard output and error of a command on the machine."""
        pid = self.provider.first_process(machine.provider_id)
        assert pid is not None, f"{machine.provider_id} does not run"
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--target={pid}", "--all", "--", *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0 or not check, f"{command}: {said.decode()}"
        return said.decode()

    def leftovers(self) -> list[str]:
        """What there still is of this cluster on this host."""
        state = str(self.context.state_dir)
        found = [f"process {pid}" for pid in cgroups.members(self.provider.group)]
        found += [f"cgroup {name}" for name in _existing_groups(self.provider.group)]
        found += [f"process {line}" for line in command_lines() if state in line]
        found += [f"mount {line}" for line in _lines(Path("/proc/self/mountinfo")) if state in line]
        found += [f"link {path.name}" for path in Path("/sys/class/net").iterdir() if path.name == self.provider.link]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        found += [f"table {line}" for line in tables.splitlines() if self.provider.link.replace("-", "_") in line]
        return found + [f"file {path}" for path in Path(state, "local").rglob("*")]


def context(
    state_dir: Path,
    *,
    cluster: str,
    uplink: str,
    images: tuple[Path, ...] = (),
    options: Mapping[str, str] | None = None,
) -> ProviderContext:
    """No packet leaves this host: machines have no way out."""
    return ProviderContext(
        cluster=cluster,
        state_dir=state_dir,
        component_dirs=component_dirs(),
        images=images,
        uplink=uplink,
        kube=cast(KubeClient, None),  # a machine is made without asking the API server anything
        options={"egress": "false", **(options or {})},
    )


@contextlib.asynccontextmanager
async def cluster(
    directory: Path, *, images: tuple[Path, ...] = (), options: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """A cluster without machines; nothing of it is left afterwards."""
    number = uuid.uuid4().int
    given = context(
        directory / "state",
        cluster=f"test-{number:x}"[:13],
        uplink=f"100.{100 + number % 27}.{number // 27 % 256}.0/30",
        images=images,
        options=options or {},
    )
    made = Cluster(given, LocalProvider(given))
    try:
        await made.provider.start()
        yield made
    finally:
        await made.provider.purge()


async def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + WITHIN
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {WITHIN:.0f} s: {what}"
        await asyncio.sleep(0.05)
    return value


def _existing_groups(group: str) -> list[str]:
    paths = [Path(hierarchy.mount_point, group) for hierarchy in cgroups.hierarchies()]
    return [str(path) for path in paths if path.exists()]


def command_lines() -> list[str]:
    return [
        text
        for path in Path("/proc").glob("[0-9]*/cmdline")
        for text in _lines(path)
        if path.parent.name != str(os.getpid())
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace").splitlines()
    except OSError:
        return []
