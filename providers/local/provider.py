"""The local provider: one machine is one process tree on this host, with real containerd and kubelet.

Every call works from the directories (`records`) and the control groups, nothing is remembered, so a restarted
controller continues where the last one was killed:

- `create` writes the record, then starts the machine. Repeated, it returns the machine that runs; one that is recorded
  but does not run (its caller was killed, this host was rebooted) it starts.
- `delete` marks the record, kills, removes everything, the record last. Repeated, it goes on; at the end there is
  nothing left to find.

Machines are no children of this process and outlive it; they do not outlive a reboot.

Options: ``memory`` is what all machines of the cluster may have together, such as ``16Gi`` (this host's memory by
default); ``egress``, ``true`` or ``false``, whether machines reach what this host reaches (true by default: they pull
images), see `lan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType, Offering
from autonodes.core.quantities import format_resource, parse_resource
from autonodes.provider import (
    CreateError,
    InsufficientCapacityError,
    Interruption,
    LaunchRequest,
    Machine,
    MachineNotFoundError,
    NodeClassNotReadyError,
    NodeSettings,
    ProviderContext,
    ProviderError,
    ProviderID,
    RepairPolicy,
)
from providers.local import catalogue, cgroups, host, launching, programs, removal
from providers.local.images import ImageStore
from providers.local.lan import CommandError, Lan, address_of, run
from providers.local.launching import LaunchError
from providers.local.machine.order import Order
from providers.local.records import Record, Records, is_uid

BINARIES: Final = (
    *("containerd", "containerd-shim-runc-v2", "runc", "ctr", "kubelet"),
    *("bridge", "host-local", "loopback", "portmap", "bandwidth", "ptp"),
)
"""What every machine finds in its component directory."""

_KUBELET: Final[Mapping[str, Any]] = {
    "cgroupDriver": "cgroupfs",  # the machine has no systemd
    "failCgroupV1": False,
    "cgroupsPerQOS": True,
    "enforceNodeAllocatable": ["pods"],
    "evictionHard": {
        "memory.available": str(catalogue.MEMORY_EVICTION),
        "nodefs.available": str(catalogue.DISK_EVICTION),
    },
    "volumePluginDir": "/var/lib/kubelet/volumeplugins",  # the default lies in /usr
    "imageGCHighThresholdPercent": 100,  # the disk is this host's: its use says nothing of the machine's images
}

_TOLERATION: Final = 600.0
"""Seconds; as Karpenter's providers have it for the Ready condition."""


class LocalProvider:
    """:param now: seconds since the epoch, for ``created_at``

    ``group`` is the control group above all machines of the cluster, ``link`` the name of the host's end of the uplink.
    """

    name = "local"
    node_class_kind = "LocalNodeClass"

    def __init__(self, context: ProviderContext, *, now: Callable[[], float] = time.time) -> None:
        self._cluster, self._context, self._now = context.cluster, context, now
        self._directory = context.state_dir.absolute() / self.name
        # two clusters of one name can live on this host, in two state directories
        key = hashlib.sha256(f"{context.cluster}\0{context.state_dir.resolve()}".encode()).hexdigest()[:8]
        self.group: Final = f"{cgroups.ROOT}/{context.cluster}-{key}"
        self._records = Records(self._directory)
        self._lan = Lan(
            self._directory / "lan",
            key=key,
            uplink=context.uplink,
            egress=context.options.get("egress", "true") == "true",
        )
        self.link: Final = self._lan.link
        self._binaries: dict[str, str] = {}
        self._images: asyncio.Task[str] | None = None
        self._settling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        host.check_root(os.geteuid())
        self._binaries = host.find_binaries(BINARIES, self._context.component_dirs)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await host.check(self._directory)
        async with self._records.lock_shared("machines"):
            self._records.sweep()
        async with self._records.lock_shared("programs"):
            await asyncio.to_thread(programs.collect, self._binaries, self._directory / "programs")
        self._prepare_images()

    async def close(self) -> None:
        tasks = [task for task in (self._images, self._settling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def purge(self) -> None:
        """Remove everything that this provider has made on this host for the cluster. Safe to repeat.

        :raises ProviderError: something is still in use; repeat
        """
        await self.close()
        if not self._directory.exists() and not cgroups.children(self.group):
            return
        for claim_uid in self._records.uids():
            with contextlib.suppress(MachineNotFoundError):
                await self.delete(self._provider_id(claim_uid))
        for name in cgroups.children(self.group):  # of machines whose directories someone removed by hand
            await removal.remove_group(f"{self.group}/{name}")
        async with self._records.lock_shared("lan") as lock:
            await self._lan.remove(lock)
            await run("rm", "-rf", "--one-file-system", str(self._directory), lock=lock)

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        size = host.size(self._directory)
        if not any(shape.fits(size) for shape in catalogue.shapes(node_class, size)):
            raise NodeClassNotReadyError(
                f"no instance type fits this host: {format_resource('cpu', size.cpu)} cores, "
                f"{size.memory // 2**20} MiB of memory"
            )

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        free = self._memory_bound() - sum(record.memory for record in self._records.all())
        return catalogue.instance_types(node_class, host.size(self._directory), free_memory=free)

    async def create(self, request: LaunchRequest) -> Machine:
        async with self._records.lock(request.claim_uid) as lock:
            record = self._records.load(request.claim_uid) or await self._reserve(request)
            state = self._records.state(request.claim_uid)
            if state == "terminating":
                raise ProviderError(f"the machine of {request.claim_name} is being removed")
            if state != "running":
                await self._boot(record, request, lock)
            return self._machine(record)

    async def delete(self, provider_id: ProviderID) -> None:
        claim_uid = self._claim_uid(provider_id)
        async with self._records.lock(claim_uid) as lock:
            if not self._records.directory(claim_uid).exists():
                raise MachineNotFoundError(provider_id)
            await self._remove(claim_uid, lock)

    async def get(self, provider_id: ProviderID) -> Machine:
        record = self._records.load(self._claim_uid(provider_id))
        if record is None:
            raise MachineNotFoundError(provider_id)
        return self._machine(record)

    async def list(self) -> Sequence[Machine]:
        return [self._machine(record) for record in self._records.all()]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        record = self._records.load(machine.claim_uid)
        if record is None:
            return None
        shapes = {shape.name: shape for shape in catalogue.shapes(node_class, host.size(self._directory))}
        shape = shapes.get(record.instance_type)
        if shape is None:
            return "InstanceTypeNotFound"
        was = (record.cpu, record.memory, record.pods, record.gpus)
        if (shape.cpu, shape.memory, shape.pods, shape.gpus) != was:
            return "InstanceTypeChanged"
        if record.zone not in catalogue.zones(node_class):
            return "ZoneNotFound"
        return None if record.node_class_hash == catalogue.static_hash(node_class) else "NodeClassDrift"

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=_TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        """Nobody takes these machines away."""
        return ()

    def first_process(self, provider_id: ProviderID) -> int | None:
        """A running machine's process 1, as this host numbers it: ``nsenter -t PID -a`` leads in."""
        return self._records.first_process(self._claim_uid(provider_id))

    async def _reserve(self, request: LaunchRequest) -> Record:
        """Choose the first candidate for which there is room, and write it down."""
        size, bound = host.size(self._directory), self._memory_bound()
        async with self._records.lock_shared("machines"):
            others = self._records.all()
            used = sum(record.memory for record in others)
            for instance_type, offering in request.candidates:
                fits = instance_type.capacity["cpu"] <= size.cpu and used + instance_type.capacity["memory"] <= bound
                if fits and offering.available and offering.price is not None:
                    record = self._record(request, instance_type, offering, taken={each.address for each in others})
                    self._records.add(record)
                    return record
        raise InsufficientCapacityError(
            f"no room on this host for any of {', '.join(sorted({each.name for each, _ in request.candidates}))}: "
            f"{len(others)} machines have {used // 2**20} of {bound // 2**20} MiB"
        )

    def _record(
        self, request: LaunchRequest, instance_type: InstanceType, offering: Offering, *, taken: Collection[str]
    ) -> Record:
        return Record(
            claim_uid=request.claim_uid,
            claim_name=request.claim_name,
            cluster=self._cluster,
            node_pool=request.node_pool,
            instance_type=instance_type.name,
            zone=offering.zone,
            capacity_type=offering.capacity_type,
            cpu=instance_type.capacity["cpu"],
            memory=instance_type.capacity["memory"],
            pods=instance_type.capacity["pods"],
            address=address_of(request.claim_uid, taken),
            node_class_hash=catalogue.static_hash(request.node_class),
            created_at=self._now(),
            gpu_labels={
                key: value
                for key, value in instance_type.requirements.labels().items()
                if key.startswith("nvidia.com/")
            },
        )

    async def _boot(self, record: Record, request: LaunchRequest, lock: int) -> None:
        try:
            images = await asyncio.shield(self._prepare_images())
            async with self._records.lock_shared("lan") as lan_lock:
                await self._lan.ensure(lan_lock)
            await launching.launch(self._records, record, self._order(record, request, images))
        except (EnvironmentFault, LaunchError, CommandError, OSError) as error:
            await self._remove(record.claim_uid, lock)
            raise CreateError("LaunchFailed", f"the machine did not start: {error}") from error

    def _order(self, record: Record, request: LaunchRequest, images: str) -> Order:
        size = host.size(self._directory)
        settings = NodeSettings(
            provider_id=self._provider_id(record.claim_uid),
            node_ip=record.address,
            system_reserved=catalogue.system_reserved(record.cpu, record.memory, size),
            max_pods=record.pods,
            labels=_labels(record),
            kubelet=_KUBELET,
        )
        return launching.order(
            record,
            request.bootstrap.boot_plan(settings),
            directory=self._records.directory(record.claim_uid),
            group=self._group_of(record.claim_uid),
            network=self._lan.network(record.address),
            programs=self._directory / "programs" / programs.fingerprint(self._binaries),
            containerd_root=images,
        )

    async def _remove(self, claim_uid: str, lock: int) -> None:
        await removal.remove(self._records, claim_uid, group=self._group_of(claim_uid), lan=self._lan, lock=lock)

    def _machine(self, record: Record) -> Machine:
        size = host.size(self._directory)
        amounts = catalogue.capacity(record.cpu, record.memory, record.pods, size, gpus=record.gpus)
        return Machine(
            provider_id=self._provider_id(record.claim_uid),
            claim_uid=record.claim_uid,
            claim_name=record.claim_name,
            instance_type=record.instance_type,
            zone=record.zone,
            capacity_type=record.capacity_type,
            state=self._records.state(record.claim_uid),
            created_at=record.created_at,
            capacity=amounts,
            allocatable=amounts,
            labels=_labels(record),
            addresses=(record.address,),
        )

    def _prepare_images(self) -> asyncio.Task[str]:
        """The one attempt that is under way or has succeeded; a failed one is followed by another."""
        task = self._images
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._images = asyncio.create_task(self._import_images())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits sees it
        return task

    async def _import_images(self) -> str:
        if not self._context.images:
            return ""
        store = ImageStore(self._directory / "images", archives=self._context.images, binaries=self._binaries)
        async with self._records.lock_shared("images") as lock:
            root = str(await store.ensure(lock))
        self._settling = asyncio.create_task(self._settle(store))
        return root

    async def _settle(self, store: ImageStore) -> None:
        with contextlib.suppress(CommandError):  # the next start tries again
            async with self._records.lock_shared("images") as lock:
                await store.settle(lock)

    def _memory_bound(self) -> int:
        if (given := self._context.options.get("memory")) is not None:
            return parse_resource("memory", given, path="options.memory", capacity=True)
        return host.size(self._directory).memory

    def _group_of(self, claim_uid: str) -> str:
        return f"{self.group}/{claim_uid}"

    def _provider_id(self, claim_uid: str) -> ProviderID:
        return ProviderID(f"{self.name}://{self._cluster}/{claim_uid}")

    def _claim_uid(self, provider_id: ProviderID) -> str:
        """:raises MachineNotFoundError: it is another cluster's, or no machine's at all"""
        prefix = self._provider_id("")
        if not provider_id.startswith(prefix) or not is_uid(provider_id[len(prefix) :]):
            raise MachineNotFoundError(provider_id)
        return provider_id[len(prefix) :]


def _labels(record: Record) -> dict[str, str]:
    return catalogue.node_labels(record.instance_type, record.zone, record.capacity_type) | record.gpu_labels
