"""One world: a cluster, a cloud, users, one controller or two, and what goes wrong, from beginning to end.

It has three parts. While things go wrong, faults are applied at their times, and users change what they want. Then
nothing goes wrong any more: every pod must come to run, each claim must have its machine and each machine its claim. At
last all pods go, and nothing may be left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autonodes.controllers.operator import OperatorStoppedError
from autonodes.controllers.program import LEASE_NAME, LEASE_NAMESPACE
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.resources import (
    LEASES,
    NODECLAIMS,
    NODEPOOLS,
    NODES,
    PDBS,
    PODS,
    Resource,
    node_class,
)  # fmt: skip
from autonodes.provider import Provider, RepairPolicy
from autonodes.verify.actor import Actor
from autonodes.verify.cloud import Cloud
from autonodes.verify.doorman import Doorman
from autonodes.verify.faults import Fault
from autonodes.verify.feeds import Traffic
from autonodes.verify.fleet import Fleet
from autonodes.verify.invariants import GONE, MATCHED, SERVED, SOUND, Invariants, Standing, Violation
from autonodes.verify.misbehaving import Misbehaving, Misfortunes
from autonodes.verify.mishaps import Mishaps
from autonodes.verify.scenario import Change, Scenario
from autonodes.verify.view import NAMESPACE, View
from autonodes.verify.virtualtime import LoopClock
from autonodes.verify.workloads import Workloads

CLASS: Final = node_class(Cloud.node_class_kind)
CHAOS: Final = 480.0
"""Seconds while things go wrong."""
PATIENCE: Final = 4000.0
"""Seconds after which at the latest everything must be well: longer than the longest rest of an offering that was
refused again and again."""
_STEP: Final = 1.0
_PUT_RIGHT: Final = 60.0
"""Seconds that a clock is wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """:param met: kinds of the faults that had an effect, with their number
    :param history: lines, with the seconds since the world began
    """

    met: Counter[str]
    checked: int
    violations: tuple[Violation, ...]
    history: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Arena:
    """What worlds have in common, one after the other: the API server.

    :param admin: the administrator's way to it, with stamps of virtual time
    """

    kubeconfig: Path
    traffic: Traffic
    admin: KubeClient
    new_clock: Callable[[], LoopClock]


class World:
    """:param directory: for the cloud's machines; empty
    :param chaos: seconds while things go wrong
    """

    def __init__(
        self, arena: Arena, scenario: Scenario, faults: Sequence[Fault], directory: Path, *, chaos: float = CHAOS
    ) -> None:
        self._chaos_lasts = chaos
        self._arena, self.admin, self._scenario, self._faults = arena, arena.admin, scenario, faults
        self.clock = arena.new_clock()
        self._began = self.clock.now()
        self._history: list[str] = []
        self.met: Counter[str] = Counter()
        self.view = View(arena.admin, self.clock)
        self.cloud = Cloud(directory, clock=self.clock)
        self.cloud.policies = (RepairPolicy(condition_type="Ready", condition_status="Unknown", toleration=120.0),)
        self.misfortunes = Misfortunes(self.cloud, self.clock, self.befell)
        self.fleet = Fleet(arena.admin, self.cloud, self.view, self.clock)
        self._workloads = Workloads(arena.admin, self.view, scenario.workloads)
        self._standings: dict[str, Standing] = {}
        self.invariants = Invariants(
            self.view,
            self.misfortunes,
            self.clock,
            cores=scenario.cores * 1000,
            most=self._explained,
            standings=self._standings,
            told=self.note,
        )
        self._doorman = Doorman()
        self.main = self.actor("controller")
        self.actors = [self.main]
        self.tasks: dict[Actor, asyncio.Task[None]] = {}
        self._mishaps = Mishaps(self)

    def actor(self, name: str) -> Actor:
        return Actor(
            name,
            self,
            kubeconfig=self._arena.kubeconfig,
            traffic=self._arena.traffic,
            doorman=self._doorman,
            new_clock=self._arena.new_clock,
            standings=self._standings,
        )

    def _explained(self) -> int:
        return 10 + 3 * self._workloads.made + 2 * sum(self.met.values())

    # what actors tell

    def provider(self, who: str) -> Provider:
        return Misbehaving(self.misfortunes, self.invariants, who)

    def asked(self, who: str, method: str, path: str, body: Object | None) -> None:
        """A controller is going to change something."""
        if method != "DELETE":
            return
        *_, kind, name = path.split("/")
        options = body or {}
        if kind == "nodeclaims":
            self.invariants.deleting_claim(who, name)
        elif kind == "pods":
            self.invariants.deleting_pod(who, f"{NAMESPACE}/{name}", options.get("gracePeriodSeconds"))

    def seen(self, who: str, method: str, path: str, status: int, answer: Object | None) -> None:
        """A controller has changed something."""
        if answer is not None and status < 300 and answer.get("kind") == "NodeClaim":
            self.invariants.wrote_claim(answer)
        if "/leases" in path:
            if status < 300 and answer is not None:
                self.held_by(answer["spec"].get("holderIdentity") or "")
            return
        self.note(f"{who}: {method} {path.rpartition('/v1/')[2] or path} → {status}")

    def held_by(self, holder: str) -> None:
        if holder != self.invariants.lease_holder:
            self.invariants.lease_holder = holder
            self.invariants.lease_taken_at = float("-inf")

    def note(self, text: str) -> None:
        self._history.append(f"{self.clock.now() - self._began:8.1f}  {text}")

    def died(self, who: str, where: str) -> None:
        """A controller was killed at a step."""
        self.met["crash"] += 1
        self.note(f"FAULT {who} is killed {where}")

    def broke(self, error: BaseException) -> None:
        self.invariants.check(SOUND, False, f"the program ended: {error!r}")

    def befell(self, fault: Fault) -> None:
        self.met[fault.kind] += 1
        self.note(f"FAULT {fault}")

    # the story

    async def play(self) -> Outcome:
        handler = _Notes(self)
        root = logging.getLogger("autonodes")
        root.addHandler(handler)
        try:
            async with self._set_up():
                await self._chaos()
                await self._calm()
                await self._end()
        finally:
            root.removeHandler(handler)
        return Outcome(
            met=self.met,
            checked=self.invariants.checked,
            violations=tuple(self.invariants.violations),
            history=tuple(self._history),
            seconds=self.clock.now() - self._began,
        )

    @contextlib.asynccontextmanager
    async def _set_up(self) -> AsyncIterator[None]:
        async with self.view.running():
            await self._install()
            background = [asyncio.create_task(self.fleet.run()), asyncio.create_task(self._workloads.run())]
            self.start(self.main)
            try:
                yield
            finally:
                await self._mishaps.stop()
                for actor, running in self.tasks.items():
                    await actor.stop(running)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await sweep(self.admin)

    def start(self, actor: Actor) -> None:
        self.tasks[actor] = asyncio.create_task(actor.run())

    async def _install(self) -> None:
        await self.admin.apply(CLASS, {"metadata": {"name": "default"}, "spec": {}}, field_manager="verify")
        await self._pool(1)
        await self._workloads.start()

    async def _pool(self, generation: int) -> None:
        template = {
            "metadata": {"labels": {"generation": str(generation)}},
            "spec": {
                "requirements": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}],
                "nodeClassRef": {"group": CLASS.group, "kind": CLASS.kind, "name": "default"},
                **self._scenario.template,
            },
        }
        limits = {"cpu": str(self._scenario.cores)}
        body = {
            "metadata": {"name": "default"},
            "spec": {**self._scenario.pool, "limits": limits, "template": template},
        }
        await self.admin.apply(NODEPOOLS, body, field_manager="verify")

    async def _chaos(self) -> None:
        due: list[tuple[float, Fault | Change]] = [
            *((fault.at, fault) for fault in self._faults), *((change.at, change) for change in self._scenario.changes)
        ]  # fmt: skip
        for at, what in sorted(due, key=lambda each: each[0]):
            await asyncio.sleep(max(0.0, self._began + at - self.clock.now()))
            await (self._mishaps.apply(what) if isinstance(what, Fault) else self._change(what))
        await asyncio.sleep(max(0.0, self._began + self._chaos_lasts - self.clock.now()))

    async def _change(self, change: Change) -> None:
        if change.workload:
            self.note(f"USER {change.workload} is scaled to {change.replicas}")
            self._workloads.scale(change.workload, change.replicas)
        else:
            self.note("USER the pool's template changes")
            await self._pool(round(change.at))

    async def _calm(self) -> None:
        self.misfortunes.clear()
        self.fleet.stillborn = 0
        self.note("FROM HERE ON nothing goes wrong")
        await self._until(SERVED, self._is_served, lambda: f"waiting: {', '.join(self._workloads.waiting())}")
        await self._until(MATCHED, self._is_matched, self._unmatched)

    def _is_served(self) -> bool:
        return self._mishaps.are_over and self._workloads.are_served()

    def _is_matched(self) -> bool:
        return not self._unmatched()

    def _unmatched(self) -> str:
        claims = {claim.metadata.uid: claim for claim in self.view.claims.items.values()}
        machines = Counter(record["claim_uid"] for record in self.cloud.records())
        without = [claim.name for uid, claim in claims.items() if not machines[uid]]
        twins = [claims[uid].name for uid, count in machines.items() if count > 1 and uid in claims]
        orphans = [record["provider_id"] for record in self.cloud.records() if record["claim_uid"] not in claims]
        parts = {"claims without a machine": without, "with several": twins, "machines without a claim": orphans}
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)

    async def _end(self) -> None:
        self.note("USER all workloads are scaled to 0")
        for workload in tuple(self._workloads.wanted):
            self._workloads.scale(workload.name, 0)
        await self._until(GONE, lambda: not self._left(), self._left)

    def _left(self) -> str:
        parts = {
            "claims": [claim.name for claim in self.view.claims.items.values()],
            "nodes": list(self.view.nodes.items),
            "machines": [record["provider_id"] for record in self.cloud.records()],
            "credentials": list(self._doorman.given.values()),
        }
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)

    async def _until(self, rule: str, condition: Callable[[], bool], why: Callable[[], str]) -> None:
        limit = self.clock.now() + PATIENCE
        while not condition() and self.clock.now() < limit:  # noqa: ASYNC110 -- many things bring it about
            await asyncio.sleep(_STEP)
        self.invariants.check(rule, condition(), why())


class _Notes(logging.Handler):
    """What the controllers log is part of the history; an exception that nobody foresaw is a violation."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._world.note(f"{record.levelname.lower()} {record.name.rpartition('.')[2]}: {text}")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, OperatorStoppedError):  # kopf may end: it is started anew
            self._world.invariants.check(SOUND, False, f"{text}: {error!r}")


async def sweep(admin: KubeClient) -> None:
    """Leave nothing to the next world."""
    for resource in (NODEPOOLS, PDBS, PODS, NODECLAIMS, NODES, CLASS):
        for body in await admin.list(resource):
            await _remove(admin, resource, body)
    with contextlib.suppress(NotFoundError):
        await admin.delete(LEASES, LEASE_NAME, LEASE_NAMESPACE)


async def _remove(admin: KubeClient, resource: Resource, body: Object) -> None:
    name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
    with contextlib.suppress(NotFoundError, ConflictError):
        if body["metadata"].get("finalizers"):
            await admin.merge_patch(resource, name, {"metadata": {"finalizers": None}}, namespace)
        await admin.delete(resource, name, namespace, grace_period=0)
