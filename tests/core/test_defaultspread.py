"""Pods without constraints of their own are spread as the cluster's administrator says."""

from __future__ import annotations

from dataclasses import replace

from autonodes.core.defaultspread import DefaultSpread, Selectors, unselected
from autonodes.core.labels import HOSTNAME, ZONE
from autonodes.core.model import Pod
from autonodes.core.planner import plan
from autonodes.core.podterms import PodSelector, Spread
from core.parts import machine, pods, pool, requirements, snapshot

OVER_ZONES = unselected(ZONE, max_skew=1)
WEB = Selectors(owners={"rs": requirements("app In web")})


def replicas(count: int, **fields: object) -> list[Pod]:
    given = {"labels": {"app": "web", "tier": "front"}, "owner_kind": "ReplicaSet", "owner_uid": "rs", **fields}
    return pods("web", count, cpu=1, **given)


def selected(pod: Pod) -> list[str]:
    return [str(each.selector.labels) for each in pod.spread]


def test_a_constraint_that_must_be_kept_decides_what_is_bought() -> None:
    """One large machine would do, and costs less."""
    given = snapshot(pods=replicas(3), pools=[pool("any")], types=[machine("m", cpu=4, zones=["z1", "z2", "z3"])])
    assert len(plan(given).purchases) == 1
    told = DefaultSpread([OVER_ZONES]).applied(given.pods, WEB)
    made = plan(replace(given, pods=told))
    assert {each.candidates[0][1] for each in made.purchases} == {"z1", "z2", "z3"}
    assert all(each.spread[0].max_skew == 1 and each.spread[0].hard for each in told)


def test_what_may_be_broken_is_a_wish() -> None:
    """As a pod's own ``ScheduleAnyway``: no pod goes without a node for it, and it may be ignored."""
    soft = unselected(ZONE, max_skew=1, hard=False), unselected(HOSTNAME, max_skew=1, hard=False)
    given = snapshot(pods=replicas(3), pools=[pool("any")], types=[machine("m", cpu=4, zones=["z1"])])
    told = replace(given, pods=DefaultSpread(soft).applied(given.pods, WEB))
    assert len(plan(told).purchases) == 1
    zones = machine("m", cpu=4, zones=["z1", "z2", "z3"])
    ignoring = replace(told, preference_policy="Ignore", instance_types={"any": (zones,)})
    assert len(plan(ignoring).purchases) == 1


def test_constraints_of_a_pod_s_own_hold_instead() -> None:
    own = (Spread(HOSTNAME, PodSelector(requirements("app In web"), frozenset(("default",)))),)
    assert DefaultSpread([OVER_ZONES]).applied(replicas(1, spread=own), WEB)[0].spread == own


def test_whom_it_counts_is_whom_all_services_and_the_controller_select() -> None:
    services = [requirements("app In web"), requirements("tier In front"), requirements("app In other")]
    selectors = Selectors(services={"default": services}, owners={"rs": requirements("hash In 1")})
    (told,) = DefaultSpread([OVER_ZONES]).applied(replicas(1), selectors)
    assert selected(told) == ["app In [web]; hash In [1]; tier In [front]"]
    assert told.spread[0].selector.namespaces == {"default"}


def test_services_of_other_namespaces_are_passed_over() -> None:
    selectors = Selectors(services={"elsewhere": [requirements("app In web")]})
    assert DefaultSpread([OVER_ZONES]).applied(replicas(1), selectors)[0].spread == ()


def test_a_pod_that_belongs_to_nothing_has_none() -> None:
    """Nor has one of a Job: its selector does not count."""
    spread = DefaultSpread([OVER_ZONES])
    assert spread.applied(replicas(1, owner_kind="", owner_uid=""), WEB)[0].spread == ()
    assert spread.applied(replicas(1, owner_kind="Job"), WEB)[0].spread == ()


def test_daemons_are_left_as_they_are() -> None:
    daemons = replicas(1, owner_kind="DaemonSet")
    assert DefaultSpread([OVER_ZONES]).applied(
        daemons, Selectors(services={"default": [requirements("app In web")]})
    ) == (*daemons,)


def test_equal_pods_of_two_snapshots_are_one_object_until_their_service_changes() -> None:
    """What the planner knows of a place it knows by its pods."""
    spread, listed = DefaultSpread([OVER_ZONES]), replicas(2)
    first = spread.applied(listed, WEB)
    again = spread.applied(listed, Selectors(owners={"rs": requirements("app In web")}))
    assert all(one is other for one, other in zip(first, again, strict=True))
    changed = spread.applied(listed, Selectors(owners={"rs": requirements("tier In front")}))
    assert [selected(each) for each in changed] == [["tier In [front]"]] * 2
