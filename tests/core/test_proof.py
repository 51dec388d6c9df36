"""What a plan is proven with: its bound, and what each node was chosen over."""

from __future__ import annotations

import pytest

from autonodes.core.labels import EXPENDABLE, ZONE
from autonodes.core.model import HostPort, Pod, Snapshot
from autonodes.core.planner import plan
from autonodes.core.proof import MODELLED, Proof, prove
from core.parts import GPU, daemonset, machine, pod, pods, snapshot

SMALL = machine("small", cpu=2, memory="4Gi", price=0.1)
LARGE = machine("large", cpu=8, memory="16Gi", price=0.39)


def proven(given: Snapshot) -> Proof:
    return prove(given, plan(given))


@pytest.mark.parametrize(
    ("why", "waiting", "bound"),
    [
        ("one and a half nodes are one and a half prices", pods("a", 3, cpu=4), 0.585),
        ("pods are not cut in two", pods("a", 3, cpu="1500m"), 0.3),
        ("the number of pods of a node is a resource", pods("a", 220), 0.2),
        ("each has its own host port", pods("a", 4, host_ports=(HostPort(80),)), 0.4),
        ("what must run in a zone costs what it costs there", pods("a", 1, f"{ZONE} In z2", cpu=2), 0.5),
        ("what rides along for nothing is not in it", [pod("b", annotations={EXPENDABLE: "true"})], 0.0),
    ],
)
def test_the_bound_knows(why: str, waiting: list[Pod], bound: float) -> None:
    types = (SMALL, LARGE, machine("far", cpu=2, price=0.5, zones=("z2",)))
    assert proven(snapshot(waiting, types=types)).lower_bound == pytest.approx(bound, rel=1e-5), why


def test_the_bound_knows_what_daemonsets_take() -> None:
    plain = proven(snapshot(pods("a", 4, cpu="500m"), types=(SMALL,)))
    busy = proven(snapshot(pods("a", 4, cpu="500m"), types=(SMALL,), daemonsets=[daemonset("logs", cpu=1)]))
    assert (plain.lower_bound, busy.lower_bound) == pytest.approx((0.1, 0.2), rel=1e-5)


def test_the_gap_is_the_share_above_the_bound() -> None:
    proof = proven(snapshot(pods("a", 3, cpu=1), types=(SMALL,)))
    assert (proof.cost, proof.gap) == pytest.approx((0.2, 1 / 3), rel=1e-5)
    assert proof.models == MODELLED


def test_a_plan_that_buys_nothing_has_no_gap() -> None:
    proof = proven(snapshot((), types=(SMALL,)))
    assert (proof.cost, proof.lower_bound, proof.gap, proof.runners_up) == (0, 0, 0, ())


@pytest.mark.parametrize(
    ("other", "waiting", "why"),
    [
        (LARGE, pods("a", 1, cpu=1), "costs $0.2900/h more"),
        (machine("tiny", cpu=1, price=0.01), pods("a", 1, cpu=2), "does not hold the pods: too little cpu"),
        (machine("sold-out", cpu=8, price=0.01, available=False), pods("a", 1, cpu=1), "is not available now"),
        (machine("gpu", cpu=8, gpu=1, price=0.01), pods("a", 1, cpu=1), f"has {GPU} that no pod asks for"),
        (machine("far", cpu=8, price=0.01, zones=("z2",)), pods("a", 1, f"{ZONE} In z1", cpu=1), "requirements"),
    ],
)
def test_the_runner_up_says_why_it_lost(other: object, waiting: list[Pod], why: str) -> None:
    runner = proven(snapshot(waiting, types=(SMALL, other))).runners_up[0]
    assert runner is not None
    assert runner.instance_type == other.name
    assert why in runner.why


def test_where_there_is_one_type_there_is_no_runner_up() -> None:
    assert proven(snapshot(pods("a", 1), types=(SMALL,))).runners_up == (None,)
