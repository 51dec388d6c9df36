"""A verification that finds nothing proves nothing: with each safety rule switched off in turn, it must find that."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from autonodes.controllers import garbagecollection
from autonodes.controllers.commands import Commands
from autonodes.controllers.draining import Drain
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.garbagecollection import GarbageCollection
from autonodes.controllers.launch import Launch
from autonodes.controllers.purchasing import Purchasing
from autonodes.controllers.snapshots import Snapshots
from autonodes.controllers.termination import Termination
from autonodes.core import eligibility
from autonodes.core.limits import Ledger
from autonodes.core.model import Pod
from autonodes.kube.leases import LeaderElection
from autonodes.kube.resources import PODS
from autonodes.verify.arena import arena, run_virtually
from autonodes.verify.faults import Fault
from autonodes.verify.invariants import (
    CLAIMED,
    EVICTED,
    FROZEN,
    GONE,
    LAST,
    LED,
    LIMIT,
    MATCHED,
    REASONED,
    SERVED,
    UNHARMED,
)  # fmt: skip
from autonodes.verify.scenario import Change, Scenario, Workload
from autonodes.verify.world import Outcome, World

pytestmark = pytest.mark.integration

EAGER = {"disruption": {"consolidateAfter": "0s", "budgets": [{"nodes": "100%"}]}}
ONE = (Workload("web", 2, 900),)
DRIFT = (Change(60.0, ""),)
"""The template changes: all nodes are replaced."""


@dataclass(frozen=True)
class Build:
    """:param breaks: switches the rule off
    :param finds: the invariants of which one must be found broken
    """

    name: str
    breaks: Callable[[pytest.MonkeyPatch], None]
    finds: frozenset[str]
    faults: Sequence[Fault] = ()
    workloads: tuple[Workload, ...] = ONE
    changes: tuple[Change, ...] = ()
    cores: int = 64
    template: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _no_idempotency(patch: pytest.MonkeyPatch) -> None:
    honest = Launch._request

    async def request(self: Launch, *arguments: Any) -> Any:
        return replace(await honest(self, *arguments), claim_uid=str(uuid.uuid4()))

    patch.setattr(Launch, "_request", request)


def _no_witnesses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(garbagecollection, "_is_gone", _always(True))
    patch.setattr(GarbageCollection, "_is_ready", _always(False))


def _no_freeze(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeze, "reasons", lambda _: [])


def _no_thaw(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeze, "reasons", lambda _: ["for ever"])


def _nothing_in_flight(patch: pytest.MonkeyPatch) -> None:
    honest = Snapshots.claims

    def claims(self: Snapshots) -> Any:
        return tuple(claim for claim in honest(self) if self._state.nodes.get(claim.name) is not None)

    patch.setattr(Snapshots, "claims", claims)
    patch.setattr(Purchasing, "_still_holds", lambda *_: True)


def _no_budgets(patch: pytest.MonkeyPatch) -> None:
    async def evict(self: Drain, pod: Pod) -> None:
        await self._client.delete(PODS, pod.name, pod.namespace, uid=pod.uid)

    patch.setattr(Drain, "_evict", evict)


def _no_drain(patch: pytest.MonkeyPatch) -> None:
    async def vacate(_: Termination, claim: Any, *__: Any) -> Any:
        return claim, None

    patch.setattr(Termination, "_vacate", vacate)


def _no_finalizer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Termination, "_delete_machines", _always(True))


def _no_lease(patch: pytest.MonkeyPatch) -> None:
    async def acquire(self: LeaderElection) -> None:
        self.lost.clear()

    patch.setattr(LeaderElection, "acquire", acquire)
    patch.setattr(LeaderElection, "is_leader", True)


def _no_limits(patch: pytest.MonkeyPatch) -> None:
    honest = Ledger.__init__

    def unlimited(self: Ledger, _: Any, catalog: Any) -> None:
        honest(self, {}, catalog)

    patch.setattr(Ledger, "__init__", unlimited)


def _nobody_protected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(eligibility, "protected_pod", lambda *_: False)


def _no_collection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GarbageCollection, "collect", _always(True))


def _no_second_look(patch: pytest.MonkeyPatch) -> None:
    """What is to go is not asked for again, nor are its pods counted: it goes as it was decided."""
    patch.setattr(Commands, "advance", _always(None))


def _always(answer: Any) -> Callable[..., Awaitable[Any]]:
    async def answered(*_: Any, **__: Any) -> Any:
        return answer

    return answered


THROTTLED = tuple(Fault(0.0, "throttled", "create") for _ in range(12))
FORGOTTEN = (Fault(0.0, "dead-boot"), Fault(5.0, "crash", "", 1.0))
TWICE = (Fault(0.0, "bought-twice", "create"),)
STALE = tuple(Fault(60.0 + number, "stale-list", "list", 10_000.0) for number in range(12))

BUILDS = (
    Build("no idempotency token", _no_idempotency, frozenset({CLAIMED})),
    Build("garbage collection with one witness", _no_witnesses, frozenset({REASONED}), faults=STALE),
    Build("no freeze", _no_freeze, frozenset({FROZEN}), faults=(*THROTTLED, Fault(4.0, "deaf", "", 90.0))),
    Build("frozen for ever", _no_thaw, frozenset({SERVED})),
    Build("what is in flight is not counted", _nothing_in_flight, frozenset({LIMIT}), faults=FORGOTTEN, cores=2),
    Build("no budgets", _no_budgets, frozenset({EVICTED}), changes=DRIFT),
    Build("no drain", _no_drain, frozenset({UNHARMED}), changes=DRIFT),
    Build("no finalizer", _no_finalizer, frozenset({LAST, GONE}), changes=DRIFT),
    Build("no Lease", _no_lease, frozenset({LED}), faults=(Fault(1.0, "rival", "", 120.0),)),
    Build("no limits", _no_limits, frozenset({LIMIT}), workloads=(Workload("web", 4, 1500),), cores=4),
    Build(
        "do-not-disrupt is not heeded",
        _nobody_protected,
        frozenset({REASONED}),
        workloads=(Workload("web", 1, 900, pinned=True),),
        changes=DRIFT,
    ),
    Build(
        "no garbage collection", _no_collection, frozenset({MATCHED}), faults=(Fault(0.0, "bought-twice", "create"),)
    ),
    Build("replacements are not followed up", _no_second_look, frozenset({GONE, SERVED, MATCHED}), changes=DRIFT),
)

WORLDS = [each for each in BUILDS if each.cores > 4 and (each.faults or each.workloads != ONE)]
"""What they are caught in, as far as the worlds differ."""


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_a_build_without_a_safety_rule_is_caught(
    build: Build, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.breaks(monkeypatch)
    outcome = _play(build, kubeconfig, tmp_path)
    found = {violation.rule for violation in outcome.violations}
    assert found & build.finds, "\n".join(outcome.history)


@pytest.mark.parametrize("build", WORLDS, ids=str)
def test_the_same_world_finds_nothing_wrong_with_the_real_build(build: Build, kubeconfig: Path, tmp_path: Path) -> None:
    outcome = _play(build, kubeconfig, tmp_path)
    assert not outcome.violations, "\n".join(outcome.history)


def _play(build: Build, kubeconfig: Path, directory: Path) -> Outcome:
    scenario = Scenario(build.workloads, build.changes, build.cores, EAGER, dict(build.template))

    async def played() -> Outcome:
        async with arena(kubeconfig) as where:
            return await World(where, scenario, build.faults, directory, chaos=200.0).play()

    return run_virtually(played())
