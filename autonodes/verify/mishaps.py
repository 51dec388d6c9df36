"""Faults, carried out: each kind is a method, and those that last are tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from autonodes.controllers.program import LEASE_NAME, LEASE_NAMESPACE
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ApiError
from autonodes.kube.resources import LEASES, NODECLAIMS, NODES, Resource
from autonodes.provider import Interruption, ProviderID
from autonodes.verify.actor import Actor
from autonodes.verify.cloud import Cloud
from autonodes.verify.faults import Fault
from autonodes.verify.fleet import Fleet
from autonodes.verify.invariants import Invariants
from autonodes.verify.misbehaving import Misfortunes
from autonodes.verify.view import View
from autonodes.verify.virtualtime import LoopClock

_PUT_RIGHT: Final = 60.0
"""Seconds that a clock is wrong."""


class Stricken(Protocol):
    """What faults hit: the world."""

    admin: KubeClient
    clock: LoopClock
    cloud: Cloud
    fleet: Fleet
    invariants: Invariants
    main: Actor
    met: Counter[str]
    misfortunes: Misfortunes
    tasks: dict[Actor, asyncio.Task[None]]
    view: View

    def actor(self, name: str) -> Actor: ...

    def start(self, actor: Actor) -> None: ...

    def befell(self, fault: Fault) -> None: ...

    def held_by(self, holder: str) -> None: ...

    def note(self, text: str) -> None: ...


class Mishaps:
    def __init__(self, world: Stricken) -> None:
        self._world = world
        self._running: set[asyncio.Task[None]] = set()
        self._rivals = 0

    @property
    def are_over(self) -> bool:
        return not self._running

    async def stop(self) -> None:
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def apply(self, fault: Fault) -> None:
        method: Callable[[Fault], Any] = getattr(
            self, f"_{fault.kind.replace('-', '_')}", self._world.misfortunes.queue
        )
        if (lasting := method(fault)) is not None:
            task = asyncio.create_task(lasting)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _crash(self, fault: Fault) -> None:
        doom = self._world.main.doom
        if not doom.dead.is_set() and not doom.is_armed:
            doom.arm(int(fault.amount))  # told when it dies

    async def _outage(self, fault: Fault) -> None:
        actor = self._world.main
        gate = actor.gate
        if gate is None or gate.outage:
            return
        self._world.note(f"FAULT {fault}")
        standing, before = actor.standing, gate.hits
        gate.begin_outage(fault.kind)
        standing.deaf_since, standing.outage = self._world.clock.now(), fault.kind
        await asyncio.sleep(fault.amount)
        gate.end_outage()
        standing.deaf_since = None
        if gate.hits > before:
            self._world.met[fault.kind] += 1

    _refused = _unavailable = _deaf = _hanging = _outage

    def _lost_answers(self, fault: Fault) -> None:
        if (gate := self._world.main.gate) is not None:
            self._world.befell(fault)
            gate.lost += int(fault.amount)

    def _throttled_api(self, fault: Fault) -> None:
        if (gate := self._world.main.gate) is not None:
            self._world.befell(fault)
            gate.refuse_next(429, retry_after="1", times=int(fault.amount))

    async def _silent_watch(self, fault: Fault) -> None:
        gate = self._world.main.gate
        if gate is None:
            return
        self._world.note(f"FAULT {fault}")
        before = gate.hits
        gate.silence(fault.target)
        await asyncio.sleep(fault.amount)
        gate.unsilence(fault.target)
        if gate.hits > before:
            self._world.met[fault.kind] += 1

    def _cut_watches(self, fault: Fault) -> None:
        if (gate := self._world.main.gate) is not None and gate.watches:
            self._world.befell(fault)
            gate.cut_streams()

    async def _blind_kopf(self, fault: Fault) -> None:
        gate = self._world.main.gate
        if gate is None or gate.kopf_is_blind:
            return
        self._world.befell(fault)
        gate.kopf_is_blind = True
        gate.cut_streams()
        await asyncio.sleep(fault.amount)
        gate.kopf_is_blind = False

    async def _stolen_lease(self, fault: Fault) -> None:
        spec = {"holderIdentity": "somebody-else", "leaseDurationSeconds": 60}
        with contextlib.suppress(ApiError):
            await self._world.admin.merge_patch(LEASES, LEASE_NAME, {"spec": spec}, LEASE_NAMESPACE)
            self._world.befell(fault)
            self._world.held_by("somebody-else")
            self._world.invariants.lease_taken_at = self._world.clock.now()

    async def _clock_jump(self, fault: Fault) -> None:
        """Until somebody puts it right."""
        self._world.befell(fault)
        clock, standing = self._world.main.clock, self._world.main.standing
        clock.skew += fault.amount
        standing.skews.add(clock.skew)
        await asyncio.sleep(_PUT_RIGHT)
        clock.skew -= fault.amount
        standing.skews.add(clock.skew)

    async def _rival(self, fault: Fault) -> None:
        self._world.befell(fault)
        self._rivals += 1
        rival = self._world.actor(f"rival{self._rivals}")
        self._world.start(rival)
        await asyncio.sleep(fault.amount)
        await rival.stop(self._world.tasks.pop(rival))

    def _foreign_taint(self, fault: Fault) -> Any:
        return self._taint_for_a_while(fault)

    async def _taint_for_a_while(self, fault: Fault) -> None:
        if self._world.fleet.foreign:
            return
        self._world.befell(fault)
        self._world.fleet.foreign = True
        await asyncio.sleep(fault.amount)
        await self._world.fleet.release()

    async def _silent_kubelet(self, fault: Fault) -> None:
        name = self._some(self._world.view.nodes.items, fault)
        if name and name not in self._world.fleet.unready:
            self._world.befell(fault)
            self._world.fleet.unready.add(name)
            await asyncio.sleep(fault.amount)
            self._world.fleet.unready.discard(name)

    def _lost_machine(self, fault: Fault) -> None:
        identity = self._some([record["provider_id"] for record in self._world.cloud.records()], fault)
        if identity:
            self._world.befell(fault)
            self._world.cloud.vanish(identity)
            self._world.misfortunes.remember()

    def _dead_boot(self, fault: Fault) -> None:
        self._world.befell(fault)
        self._world.fleet.stillborn += 1

    async def _notice(self, fault: Fault) -> None:
        identity = self._some([record["provider_id"] for record in self._world.cloud.records()], fault)
        if not identity:
            return
        self._world.befell(fault)
        moment = self._world.clock.now() + fault.amount
        self._world.cloud.notices.append(Interruption(provider_id=ProviderID(identity), kind="spot", at=moment))
        await asyncio.sleep(fault.amount)
        if self._world.cloud.has(identity):
            self._world.cloud.vanish(identity)
            self._world.misfortunes.remember()

    async def _node_deleted(self, fault: Fault) -> None:
        await self._delete_by_hand(NODES, self._some(self._world.view.nodes.items, fault), fault)

    async def _claim_deleted(self, fault: Fault) -> None:
        await self._delete_by_hand(NODECLAIMS, self._some(self._world.view.claims.items, fault), fault)

    async def _delete_by_hand(self, resource: Resource, name: str, fault: Fault) -> None:
        if not name:
            return
        self._world.befell(fault)
        self._world.invariants.by_hand.add(name)
        with contextlib.suppress(ApiError):
            await self._world.admin.delete(resource, name)

    def _some(self, names: Iterable[str], fault: Fault) -> str:
        """One of them, always the same for a fault in the same place."""
        known = sorted(names)
        return str(known[int(fault.at * 10) % len(known)]) if known else ""
