"""The bare-metal provider: hosts of an inventory, each given to one claim of one tenant at a time.

`create` writes who gets which host (`allocations`) and the host's seed, and returns; the engine boots it. `delete`
switches the host off and takes the claim's line away once it is known to be off; wiping it is then the engine's, and
nobody gets it before there is a proof (`autonodes.core.ledger`).

A controller that says "off" is one witness. If the node had joined, its lease is the other: only when it was not
renewed for `SILENCE` seconds after that is the host taken for off.

Options: ``cleaning-image``, URL of the image that wipes; ``at-once``, hosts at work at a time (20); ``media-address``,
where seeds are served, ``0.0.0.0:8089``; ``media-url``, how hosts reach that, if they can't reach it as it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType
from autonodes.kube.errors import NotFoundError
from autonodes.kube.ledger import Ledger
from autonodes.kube.resources import LEASES
from autonodes.provider import (
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
from providers.metal import catalogue
from providers.metal.allocations import Allocation, Allocations, Table
from providers.metal.engine import Controllers, Engine
from providers.metal.hosts import Host, Hosts
from providers.metal.media import MediaServer
from providers.metal.seeds import Seeds
from providers.metal.states import State
from providers.metal.work import Work, provider_id

AT_ONCE: Final = 20
SILENCE: Final = 40.0
"""Seconds: a kubelet renews its lease every ten, and the node counts as gone after forty."""
_TOLERATION: Final = 600.0
_KUBELET: Final[Mapping[str, Any]] = {
    "cgroupDriver": "cgroupfs",  # as the plan's containerd has it
    "volumePluginDir": "/var/lib/kubelet/volumeplugins",  # the default lies where images are read-only
}
_NODE_LEASES: Final = "kube-node-lease"


class MetalProvider:
    """:param now: seconds since the epoch"""

    name = "metal"
    node_class_kind = "MetalNodeClass"

    def __init__(self, context: ProviderContext, *, now: Callable[[], float] = time.time) -> None:
        self._cluster, self._kube, self._now = context.cluster, context.kube, now
        host, _, port = context.options.get("media-address", "0.0.0.0:8089").rpartition(":")
        self._hosts, self._allocations = Hosts(context.kube), Allocations(context.kube)
        self._media = MediaServer(host, int(port), context.options.get("media-url", ""))
        self._seeds = Seeds(context.kube, context.cluster)
        self._controllers = Controllers(self._hosts, context.state_dir / self.name / "authorities")
        self._cleaning_image = context.options.get("cleaning-image", "")
        work = Work(
            context.kube,
            self._hosts,
            Ledger(context.kube),
            self._media,
            self._seeds,
            self._controllers,
            cleaning_image=self._cleaning_image,
        )
        self.engine = Engine(
            self._hosts,
            self._allocations,
            self._controllers,
            work.steps(),
            is_due=work.is_due,
            now=now,
            at_once=int(context.options.get("at-once", AT_ONCE)),
        )
        self._media.reported = self.engine.wake
        self._running: asyncio.Task[None] | None = None

    @property
    def media_url(self) -> str:
        """Where hosts are served."""
        return self._media.url

    async def start(self) -> None:
        if not self._cleaning_image:
            raise EnvironmentFault(
                "the metal provider has no image that wipes hosts, so that none could be used twice",
                "give its URL as the property cleaning-image",
            )
        await self._media.start()
        self._running = asyncio.create_task(self.engine.run())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._media.close()
        self._controllers.close()

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        spec = catalogue.parsed(node_class)
        if not catalogue.chosen(await self._hosts.all(), spec, self._cluster):
            wanted = ", ".join(f"{key}={value}" for key, value in sorted(spec.host_selector.items())) or "any"
            raise NodeClassNotReadyError(
                f"spec.hostSelector: no BareMetalHost has the labels {wanted} and is open to {self._cluster}"
            )

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        spec, table = catalogue.parsed(node_class), await self._allocations.read()
        mine = catalogue.chosen(await self._hosts.all(), spec, self._cluster)
        return catalogue.instance_types(mine, _taken(table))

    async def create(self, request: LaunchRequest) -> Machine:
        spec = catalogue.parsed(request.node_class)
        hosts = {host.name: host for host in await self._hosts.all()}
        mine = catalogue.chosen(hosts.values(), spec, self._cluster)
        table = await self._allocations.change(lambda table: self._allocate(table, request, mine))
        allocation = table[request.claim_uid]
        if allocation.terminating:
            raise ProviderError(f"the host of {request.claim_name} is being given back")
        host = hosts.get(allocation.host)
        if host is None:
            raise ProviderError(f"{allocation.host}, the host of {request.claim_name}, is no longer in the inventory")
        settings = NodeSettings(
            provider_id=ProviderID(provider_id(self._cluster, request.claim_uid)),
            labels=catalogue.node_labels(host),
            max_pods=host.spec.pods,
            kubelet=_KUBELET,
        )
        await self._seeds.write(request.claim_uid, request.bootstrap.boot_plan(settings))
        self.engine.wake()
        return self._machine(allocation, host)

    async def delete(self, provider_id: ProviderID) -> None:
        allocation = await self._allocation(provider_id)
        uid = allocation.claim_uid
        allocation = await self._update(uid, terminating=True)
        host = await self._hosts.get(allocation.host)
        if host is None or host.status.claim != uid or await self._is_off(host, allocation):
            await self._seeds.delete(uid)
            await self._allocations.change(lambda table: _drop(table, uid))
            self.engine.wake()

    async def get(self, provider_id: ProviderID) -> Machine:
        allocation = await self._allocation(provider_id)
        return self._machine(allocation, await self._hosts.get(allocation.host))

    async def list(self) -> Sequence[Machine]:
        table = await self._allocations.read()
        hosts = {host.name: host for host in await self._hosts.all()}
        return [
            self._machine(each, hosts.get(each.host))
            for _, each in sorted(table.items())
            if each.cluster == self._cluster
        ]

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        spec = catalogue.parsed(node_class)
        allocation = (await self._allocations.read()).get(machine.claim_uid)
        host = await self._hosts.get(allocation.host) if allocation else None
        if allocation is None or host is None:
            return None
        if host.spec.instance_type != machine.instance_type or host.spec.zone != machine.zone:
            return "HostChanged"
        if not catalogue.chosen([host], spec, self._cluster):
            return "HostNotSelected"
        return None if machine.image == spec.image else "ImageChanged"

    def repair_policies(self) -> Sequence[RepairPolicy]:
        return [
            RepairPolicy(condition_type="Ready", condition_status=status, toleration=_TOLERATION)
            for status in ("False", "Unknown")
        ]

    async def interruptions(self) -> Sequence[Interruption]:
        """Nobody takes these hosts away."""
        return ()

    def _allocate(self, table: dict[str, Allocation], request: LaunchRequest, hosts: Sequence[Host]) -> None:
        if request.claim_uid in table:
            return
        taken = _taken(table)
        for wanted, offering in request.candidates:
            for host in hosts:
                if (host.spec.instance_type, host.spec.zone) == (wanted.name, offering.zone) and catalogue.is_free(
                    host, taken
                ):
                    table[request.claim_uid] = self._new(request, host)
                    return
        names = ", ".join(sorted({wanted.name for wanted, _ in request.candidates}))
        raise InsufficientCapacityError(f"no host is free: {names or 'no candidate was given'}")

    def _new(self, request: LaunchRequest, host: Host) -> Allocation:
        return Allocation(
            claim_uid=request.claim_uid,
            claim_name=request.claim_name,
            cluster=self._cluster,
            node_pool=request.node_pool,
            node_class=request.node_class["metadata"]["name"],
            image=catalogue.parsed(request.node_class).image,
            host=host.name,
            instance_type=host.spec.instance_type,
            zone=host.spec.zone,
            created_at=self._now(),
        )

    async def _allocation(self, given: ProviderID) -> Allocation:
        """:raises MachineNotFoundError: there is none, or it is another cluster's"""
        uid = given.rpartition("/")[2]
        found = (await self._allocations.read()).get(uid)
        if found is None or found.cluster != self._cluster or given != provider_id(self._cluster, uid):
            raise MachineNotFoundError(given)
        return found

    async def _update(self, uid: str, **changes: Any) -> Allocation:
        def change(table: dict[str, Allocation]) -> None:
            if uid not in table:
                raise MachineNotFoundError(provider_id(self._cluster, uid))
            table[uid] = dataclasses.replace(table[uid], **changes)

        return (await self._allocations.change(change))[uid]

    async def _is_off(self, host: Host, allocation: Allocation) -> bool:
        """Whether two witnesses say so; it is told to be, if not."""
        bmc = await self._controllers.of(host)
        if await self._controllers.call(bmc.power) != "Off":
            await self._controllers.call(bmc.switch, "ForceOff")
            return False
        renewed = await self._heard_of(allocation.claim_name)
        if renewed is None:
            return True
        now = self._now()
        if not allocation.off_since:
            await self._update(allocation.claim_uid, off_since=now)
        elif renewed > allocation.off_since + 1:
            await self._update(allocation.claim_uid, off_since=0.0)
            await self._controllers.call(bmc.switch, "ForceOff")
            raise ProviderError(f"{host.name}: its controller says that it is off, and its node still reports")
        return bool(allocation.off_since) and now - allocation.off_since > SILENCE

    async def _heard_of(self, node_name: str) -> float | None:
        """When the node last reported, in seconds since the epoch; None if it never did."""
        try:
            lease = await self._kube.get(LEASES, node_name, _NODE_LEASES)
        except NotFoundError:
            return None
        renewed = (lease.get("spec") or {}).get("renewTime")
        return dt.datetime.fromisoformat(renewed).timestamp() if renewed else None

    def _machine(self, allocation: Allocation, host: Host | None) -> Machine:
        size = catalogue.capacity(host) if host else {}
        return Machine(
            provider_id=ProviderID(provider_id(allocation.cluster, allocation.claim_uid)),
            claim_uid=allocation.claim_uid,
            claim_name=allocation.claim_name,
            instance_type=allocation.instance_type,
            zone=allocation.zone,
            capacity_type="on-demand",
            state=_state(allocation, host),
            created_at=allocation.created_at,
            capacity=size,
            allocatable=size,
            labels=catalogue.node_labels(host) if host else {},
            image=allocation.image,
        )


def _state(allocation: Allocation, host: Host | None) -> Literal["pending", "running", "stopped", "terminating"]:
    if allocation.terminating:
        return "terminating"
    if host is None or host.state is State.QUARANTINED:
        return "stopped"
    return "running" if host.state is State.PROVISIONED else "pending"


def _taken(table: Table) -> frozenset[str]:
    return frozenset(each.host for each in table.values())


def _drop(table: dict[str, Allocation], uid: str) -> None:
    table.pop(uid, None)
