"""The local provider with real containerd and kubelet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from autonodes.core import labels
from autonodes.provider import CreateError, InsufficientCapacityError, Machine, MachineNotFoundError, ProviderID
from local_machines import BUSYBOX, GIB, NODE_CLASS, Cluster, Idle, Standalone, command_lines, wait_for

pytestmark = pytest.mark.e2e

POD_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.7.0/24"}]]},
        }
    ],
}


def pod(name: str, *command: str, memory: str = "64Mi", host_network: bool = False) -> dict[str, Any]:
    resources = {"cpu": "100m", "memory": memory}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "hostNetwork": host_network,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": BUSYBOX,
                    "imagePullPolicy": "Never",
                    "command": list(command),
                    "resources": {"limits": resources},
                }
            ],
        },
    }


def in_phase(local: Cluster, machine: Machine, name: str, phase: str) -> Any:
    """The status of a static pod, as its kubelet tells it, once it is in that phase."""
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10255/pods').read().decode())"
    pid = local.provider.first_process(machine.provider_id)
    done = subprocess.run(
        ["nsenter", f"--target={pid}", "--net", "python3", "-c", script], capture_output=True, check=False
    )
    pods = json.loads(done.stdout)["items"] if done.returncode == 0 else []
    found = [each["status"] for each in pods or () if each["metadata"]["name"].startswith(name)]
    return next((status for status in found if status["phase"] == phase), None)


async def test_a_machine_is_created_once_however_often_it_is_asked_for(local: Cluster) -> None:
    request = await local.request(Idle("node-1"))
    machines = await asyncio.gather(*(local.provider.create(request) for _ in range(4)))
    assert len({machine.provider_id for machine in machines}) == 1
    assert machines[0].state == "running"
    again = await local.provider.create(request)
    assert again == machines[0]
    assert await local.provider.list() == [again]
    assert await local.provider.get(again.provider_id) == again
    containerds = await local.inside(again, "pgrep", "-xcP", "1", "containerd")
    assert containerds.strip() == "1"


async def test_a_machine_shows_the_type_that_was_bought(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"), size="local.medium")
    assert machine.labels[labels.INSTANCE_TYPE] == machine.instance_type == "local.medium"
    assert machine.labels[labels.ZONE] == machine.zone == "local-a"
    assert (machine.allocatable["cpu"], machine.allocatable["memory"]) == (2000, 2 * GIB)
    assert machine.provider_id == f"local://{local.context.cluster}/{machine.claim_uid}"
    assert await local.provider.is_drifted(machine, NODE_CLASS) is None
    assert await local.provider.is_drifted(machine, {"spec": {"zones": ["elsewhere"]}}) == "ZoneNotFound"


async def test_deleting_takes_everything_and_can_be_repeated(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    assert local.processes(machine.claim_uid)
    await local.provider.delete(machine.provider_id)
    for _ in range(2):
        with pytest.raises(MachineNotFoundError):
            await local.provider.delete(machine.provider_id)
    with pytest.raises(MachineNotFoundError):
        await local.provider.get(machine.provider_id)
    assert await local.provider.list() == []
    assert local.processes(machine.claim_uid) == frozenset()
    await local.provider.purge()
    assert local.leftovers() == []


async def test_concurrent_deletions_agree(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    results = await asyncio.gather(
        *(local.provider.delete(machine.provider_id) for _ in range(4)), return_exceptions=True
    )
    assert results.count(None) == 1
    assert sum(isinstance(result, MachineNotFoundError) for result in results) == 3


async def test_machines_of_other_clusters_are_not_touched(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    for foreign in (f"local://other/{machine.claim_uid}", "local://x", f"aws:///{machine.claim_uid}", ""):
        with pytest.raises(MachineNotFoundError):
            await local.provider.delete(ProviderID(foreign))
    with pytest.raises(MachineNotFoundError):
        await local.provider.delete(ProviderID(f"local://{local.context.cluster}/../machines/{machine.claim_uid}"))
    assert (await local.provider.get(machine.provider_id)).state == "running"


async def test_a_machine_whose_first_process_was_killed_is_stopped_until_it_is_asked_for(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    pid = local.provider.first_process(machine.provider_id)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await wait_for("its processes end with it", lambda: not local.processes(machine.claim_uid))
    assert [each.state for each in await local.provider.list()] == ["stopped"]
    assert (await local.create(Idle("node-1"), uid=machine.claim_uid)).state == "running"
    assert (await local.inside(machine, "cat", "/etc/kubernetes/secret")) == "hush"


async def test_a_process_that_dies_is_started_again(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    await local.inside(machine, "pkill", "-9", "-x", "containerd")
    log = local.directory(machine) / "machine.log"
    await wait_for("containerd is missed", lambda: "containerd ended with -9" in log.read_text())
    await wait_for("containerd is back", lambda: "containerd" in _names(local, machine.claim_uid))


async def test_machines_beyond_the_memory_bound_are_refused_and_shown_as_unavailable(
    local: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.provider, "_memory_bound", lambda: GIB * 3 // 2)
    machine = await local.create(Idle("node-1"))
    types = await local.provider.instance_types(NODE_CLASS)
    assert not any(offering.available for each in types for offering in each.offerings)
    with pytest.raises(InsufficientCapacityError):
        await local.create(Idle("node-2"))
    assert await local.provider.list() == [machine]


async def test_a_machine_that_cannot_boot_is_a_failed_launch_that_leaves_nothing(local: Cluster) -> None:
    shutil.rmtree(local.context.state_dir / "local" / "programs")
    with pytest.raises(CreateError, match="No such file or directory"):
        await local.create(Idle("node-1"))
    assert await local.provider.list() == []


async def test_secrets_on_a_machine_are_for_root_only(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    directory = local.directory(machine)
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "rootfs/etc/kubernetes/secret").stat().st_mode & 0o777 == 0o600
    assert not any(line for line in command_lines() if "hush" in line)
    assert "hush" not in (directory / "machine.log").read_text()


async def test_the_host_keeps_its_settings_and_the_machine_has_its_own_view(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"))
    assert await local.inside(machine, "hostname") == "node-1\n"
    assert await local.inside(machine, "cat", "/proc/sys/kernel/panic") == "10\n"
    assert await local.inside(machine, "sh", "-c", "touch /usr/x 2>&1 || true") != ""
    mounts = await local.inside(machine, "cat", "/proc/self/mountinfo")
    assert "/old_root" not in mounts
    assert " shared:" in mounts.splitlines()[0]


async def test_machines_reach_each_other_and_the_host_but_not_the_other_way_round(local: Cluster) -> None:
    one, two = await asyncio.gather(local.create(Idle("node-1")), local.create(Idle("node-2")))
    uplink = local.context.uplink.replace(".0/30", ".1")
    with socket.create_server((uplink, 0)) as host:
        port = host.getsockname()[1]
        host.settimeout(10)
        knock = f"import socket; socket.create_connection(('{uplink}', {port}), 10)"
        accepted = asyncio.create_task(asyncio.to_thread(host.accept))
        await _in_network(local, one, knock)
        connection, (seen, _) = await accepted
        connection.close()
        assert seen.endswith(".2")  # the router's address, not the machine's
    await local.inside(one, "/usr/bin/busybox", "ping", "-c", "1", "-W", "5", two.addresses[0])
    with pytest.raises(OSError, match=r"(unreachable|timed out)"):
        dial(two.addresses[0], by_way_of=uplink[: -len("1")] + "2", link=local.provider.link)


async def test_pods_run_with_their_images_network_and_memory_limits(stocked: Cluster) -> None:
    """All images are there without a registry; what a container may use is enforced by the machine's own groups."""
    hungry = "head -c 100000000 /dev/zero | tail"
    bootstrap = Standalone(
        "node-1",
        pods=(pod("steady", "sleep", "1000"), pod("hungry", "sh", "-c", hungry, memory="32Mi")),
        network=POD_NETWORK,
    )
    machine = await stocked.create(bootstrap)
    failed = await wait_for("hungry is killed", lambda: in_phase(stocked, machine, "hungry", "Failed"))
    terminated = failed["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    running = await wait_for("steady runs", lambda: in_phase(stocked, machine, "steady", "Running"))
    assert running["podIP"].startswith("10.244.7.")
    limit = "cat /sys/fs/cgroup/memory/kubepods/memory.limit_in_bytes || cat /sys/fs/cgroup/kubepods/memory.max"
    assert int(await stocked.inside(machine, "sh", "-c", f"({limit}) 2>/dev/null")) == GIB + 100 * 2**20


async def test_a_machine_starts_with_hard_links_and_databases_of_its_own(stocked: Cluster) -> None:
    one, two = await asyncio.gather(stocked.create(Idle("node-1")), stocked.create(Idle("node-2")))
    roots = [stocked.directory(each) / "rootfs/var/lib/containerd" for each in (one, two)]
    layers = [sorted(root.glob("*.overlayfs/snapshots/*/fs/bin/busybox")) for root in roots]
    assert layers[0]
    assert all(a.samefile(b) for a, b in zip(*layers, strict=True))
    databases = [sorted(root.rglob("meta*.db")) for root in roots]
    assert len(databases[0]) == 2
    assert all(not a.samefile(b) for a, b in zip(*databases, strict=True))


async def test_a_new_provider_finds_the_machines_of_the_last_one(local: Cluster) -> None:
    machine = await local.create(Idle("node-1"), uid=str(uuid.uuid4()))
    await local.provider.close()
    successor = type(local.provider)(local.context)
    await successor.start()
    assert await successor.list() == [machine]
    await successor.close()


def dial(address: str, *, by_way_of: str, link: str) -> None:
    """Try from this host, with a route that it doesn't have by itself; the route goes with the link."""
    subprocess.run(["ip", "route", "add", f"{address}/32", "via", by_way_of, "dev", link], check=True)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        probe.connect((address, 22))


def _names(local: Cluster, uid: str) -> list[str]:
    names = []
    for pid in local.processes(uid):
        try:
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return names


async def _in_network(local: Cluster, machine: Machine, script: str) -> None:
    pid = local.provider.first_process(machine.provider_id)
    process = await asyncio.create_subprocess_exec("nsenter", f"--target={pid}", "--net", "python3", "-c", script)
    assert await process.wait() == 0
