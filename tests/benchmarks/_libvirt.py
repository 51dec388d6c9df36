"""A claim to its node Ready, beside the bare boot of the same image with the same devices to a healthy kubelet.

The bare boot has no cluster: the kubelet runs alone, with its network configured beforehand, and the machine itself
knocks at this host when the kubelet's health check answers. Beside the seconds stands what of a processor QEMU took
until then: on a machine that does other work, too, it says more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml

from autonodes.kube.client import KubeClient
from autonodes.provider import BootFile, BootPlan, BootProcess, LaunchRequest, NodeSettings, ProviderContext
from cluster import Cluster, kubectl_path, wait_for
from libvirt_daemon import Daemon, daemon
from libvirt_machines import NodeClasses
from local_machines import Standalone
from providers.libvirt import LibvirtProvider

_SIZE = "libvirt.medium"
_WITHIN = 400.0
_REPORT = """\
#!/bin/sh
until wget -q -O- http://127.0.0.1:10248/healthz; do sleep 0.1; done
host=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
nc "$host" {port} </dev/null
exec sleep 86400
"""
_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.7.0/24"}]]}}],
}


def rows(rounds: int) -> Iterator[Mapping[str, Any]]:
    """Alternating; at the end the medians and their ratio."""
    taken: list[tuple[_Taken, _Taken]] = []
    with daemon() as hypervisor, tempfile.TemporaryDirectory() as home:
        cluster = Cluster(name="bench", home=Path(home), kubectl_path=kubectl_path())
        try:
            _up(cluster, hypervisor)
            image = Path((cluster.home / cluster.name / "machine-image").read_text())
            for number in range(1, rounds + 1):
                ready = _claim_to_ready(cluster, hypervisor)
                taken.append((ready, asyncio.run(_bare_boot(Path(home), hypervisor, image))))
                yield {"engine": "libvirt", "round": number, **_compared(*taken[-1])}
        finally:
            cluster.autonodes("down", "--name", cluster.name)
    yield {"engine": "libvirt", "round": "median", **_compared(*map(_median, zip(*taken, strict=True)))}


@dataclass(frozen=True)
class _Taken:
    """Seconds of time, and of a processor."""

    seconds: float
    cpu: float


def _median(taken: Sequence[_Taken]) -> _Taken:
    return _Taken(statistics.median(each.seconds for each in taken), statistics.median(each.cpu for each in taken))


def _compared(ready: _Taken, bare: _Taken) -> Mapping[str, float]:
    return {
        "claim_to_ready_s": ready.seconds,
        "bare_boot_s": bare.seconds,
        "ratio_to_bare": ready.seconds / bare.seconds,
        "claim_to_ready_cpu_s": ready.cpu,
        "bare_boot_cpu_s": bare.cpu,
        "ratio_of_cpu": ready.cpu / bare.cpu,
    }


def _cpu_of_machine(hypervisor: Daemon) -> float:
    """Of the only one that there is."""
    (pid,) = hypervisor.machines()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _up(cluster: Cluster, hypervisor: Daemon) -> None:
    pool = {"name": "default", "limits": {"nodes": "1"}, "disruption": {"consolidateAfter": "Never"}}
    provider = {"provider": "libvirt", "properties": {"uris": hypervisor.uri}, "dynamic": [pool]}
    file = cluster.home / "vcluster.yaml"
    file.write_text(yaml.safe_dump({"privateNodes": {"enabled": True, "autoNodes": [provider]}}))
    up = cluster.autonodes("up", "--name", cluster.name, "-f", str(file))
    if up.returncode:
        raise RuntimeError(up.stderr)


def _claim_to_ready(cluster: Cluster, hypervisor: Daemon) -> _Taken:
    """From the claim to its node Ready; leaves none."""
    resources = {"requests": {"cpu": "1100m", "memory": "32Mi"}}
    command = ["sleep", "3600"]
    main = {"name": "main", "image": "autonodes.io/busybox:1.35", "command": command, "resources": resources}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [main]}
    metadata = {"name": "waits", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    (claim,) = wait_for("a claim", lambda: cluster.names("nodeclaims"), cluster=cluster)
    start = time.monotonic()
    for state in ("create", "condition=Ready"):  # watches: polling would take a core from what is measured
        cluster.kubectl("wait", f"--for={state}", f"node/{claim}", f"--timeout={_WITHIN:.0f}s", timeout=_WITHIN + 10)
    taken = _Taken(time.monotonic() - start, _cpu_of_machine(hypervisor))
    cluster.kubectl("delete", "pod", "waits", "--wait=false")
    cluster.kubectl("delete", "nodeclaim", claim, "--wait=true", timeout=_WITHIN)
    return taken


@dataclass(frozen=True)
class _Alone:
    """A kubelet without a cluster, and a process that tells when it is healthy."""

    node_name: str
    port: int

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        plan = Standalone(self.node_name, network=_NETWORK).boot_plan(settings)
        report = BootFile(path="/opt/autonodes/bin/report", content=_REPORT.format(port=self.port).encode(), mode=0o755)
        return replace(
            plan,
            files=(*plan.files, report),
            processes=(*plan.processes, BootProcess(name="report", argv=("report",))),
        )


async def _bare_boot(directory: Path, hypervisor: Daemon, image: Path) -> _Taken:
    """From the order to a kubelet that answers its health check; leaves nothing."""
    spec = {"hypervisors": [{"uri": hypervisor.uri}], "acceleration": "tcg"}
    node_class = {"metadata": {"name": "bare"}, "spec": spec}
    context = ProviderContext(
        cluster="bare",
        state_dir=directory / "bare",
        component_dirs=(),
        images=(),
        uplink="",
        kube=cast(KubeClient, NodeClasses([node_class])),
        machine_image=image,
    )
    provider = LibvirtProvider(context)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        try:
            await provider.validate(node_class)
            request = await _request(provider, node_class, _Alone("bare", server.getsockname()[1]))
            start = time.monotonic()
            await provider.create(request)
            knock, _ = await asyncio.wait_for(loop.sock_accept(server), _WITHIN)
            knock.close()
            return _Taken(time.monotonic() - start, _cpu_of_machine(hypervisor))
        finally:
            for machine in await provider.list():
                await provider.delete(machine.provider_id)
            await provider.close()


async def _request(provider: LibvirtProvider, node_class: Mapping[str, Any], bootstrap: _Alone) -> LaunchRequest:
    types = await provider.instance_types(node_class)
    chosen = next(each for each in types if each.name == _SIZE)
    return LaunchRequest(
        claim_uid=str(uuid.uuid4()),
        claim_name=bootstrap.node_name,
        node_pool="bare",
        candidates=((chosen, chosen.offerings[0]),),
        node_class=node_class,
        labels={},
        taints=(),
        bootstrap=bootstrap,
    )
