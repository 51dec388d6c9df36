"""For each pool the first thing that rules a pod out, as a user reads it."""

import pytest

from autonodes.core.labels import ARCH, INSTANCE_TYPE, ZONE
from autonodes.core.model import HostPort, NodePool, Pod, PodUID, Taint
from autonodes.core.planner import plan
from core.parts import daemonset, machine, pod, pool, requirements, snapshot

TYPES = (
    machine("small", f"{ARCH} In amd64", "size In 1", cpu=2, memory="8Gi", zones=("z1", "z2")),
    machine("large", f"{ARCH} In arm64", "size In 5", cpu=8, memory="4Gi"),
    machine("unpriced", "disk In ssd", cpu=8, price=None),
    machine("gone", "disk In hdd", cpu=8, available=False),
)
AT_ONCE = requirements(f"{ARCH} In arm64", "size In 1")

CASES: list[tuple[str, Pod, NodePool, str]] = [
    (
        "UntoleratedTaint",
        pod("a"),
        pool(taints=(Taint("team", "x", "NoExecute"),)),
        "did not tolerate taint (taint=team=x:NoExecute)",
    ),
    (
        "IncompatibleRequirements",
        pod("a", f"{ZONE} In z9"),
        pool("default", f"{ZONE} In z1 z2"),
        f"incompatible requirements, key {ZONE}, {ZONE} In [z9] not in {ZONE} In [z1, z2]",
    ),
    (
        "IncompatibleRequirements",
        pod("a", f"{ZONE} In z9"),
        pool(),
        f"incompatible requirements, key {ZONE}, {ZONE} In [z9] not in {ZONE} In [z1, z2]",
    ),
    (
        "IncompatibleRequirements",
        pod("a", "team In a"),
        pool(),
        'incompatible requirements, label "team" does not have known values',
    ),
    (
        "IncompatibleRequirements",
        pod("a", AT_ONCE),
        pool(),
        f"no instance type has all of {AT_ONCE} at once",
    ),
    (
        "IncompatibleRequirements",
        pod("a", f"{ZONE} In z8", f"{ZONE} In z9"),
        pool("default", f"{ZONE} In z1"),
        f"incompatible requirements, key {ZONE}, {ZONE} In [z8] not in {ZONE} In [z1]; "
        f"or incompatible requirements, key {ZONE}, {ZONE} In [z9] not in {ZONE} In [z1]",
    ),
    (
        "IncompatibleRequirements",
        pod("a", requirements("x In 1", "x NotIn 1")),
        pool(),
        "incompatible requirements, key x, no value can satisfy what is asked (a contradiction)",
    ),
    (
        "InsufficientResources",
        pod("a", cpu=200),
        pool(),
        "no instance type has enough resources (requested cpu=200; largest after DaemonSets cpu=8)",
    ),
    (
        "InsufficientResources",
        pod("a", f"{INSTANCE_TYPE} In small large", cpu=4, memory="6Gi"),
        pool(),
        "no instance type has enough resources (requested cpu=4, memory=6Gi; "
        "largest after DaemonSets cpu=8, memory=8Gi, but not on one machine)",
    ),
    (
        "InsufficientResources",
        pod("a", gpu=1),
        pool(),
        "no instance type has enough resources (requested nvidia.com/gpu=1; largest after DaemonSets nvidia.com/gpu=0)",
    ),
    ("NoOffering", pod("a", "disk In ssd"), pool(), "no price is known for any of the 1 offerings that would do"),
    ("NoOffering", pod("a", "disk In hdd"), pool(), "none of the 1 offerings that would do is available now"),
    (
        "NoOffering",
        pod("a"),
        pool("default", f"{ZONE} In z9"),
        "no instance type of its node class meets the NodePool's own requirements",
    ),
    (
        "NodePoolNotReady",
        pod("a"),
        pool("default", ready=False),
        "the NodePool is not ready; its conditions say why",
    ),
    (
        "LimitExceeded",
        pod("a", cpu=4),
        pool("default", limits={"cpu": 7000, "memory": 2**40, "nodes": 9}),
        "limit exceeded (cpu limit 7, 7 left)",
    ),
]


@pytest.mark.parametrize(
    ("code", "waiting", "tried", "text"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)]
)
def test_the_reason_names_the_first_thing_in_the_way(code: str, waiting: Pod, tried: NodePool, text: str) -> None:
    found = plan(snapshot([waiting], types=TYPES, pools=[tried]))
    (reason,) = found.unplaced[PodUID("a")]
    assert (reason.pool, reason.code, reason.text) == ("default", code, text)


def test_daemons_can_be_in_the_way() -> None:
    port = daemonset("agent", host_ports=(HostPort(80),))
    found = plan(snapshot([pod("a", host_ports=(HostPort(80),))], types=TYPES, daemonsets=[port]))
    assert found.unplaced[PodUID("a")][0].text == "host port 0.0.0.0:80/TCP is taken by a DaemonSet"
    found = plan(snapshot([pod("a")], types=TYPES, daemonsets=[daemonset("huge", cpu=100)]))
    assert "DaemonSets alone are too large" in found.unplaced[PodUID("a")][0].text


def test_there_is_a_reason_for_each_pool_in_the_order_in_which_they_are_tried() -> None:
    tried = [pool("b"), pool("a"), pool("heavy", weight=5)]
    found = plan(snapshot([pod("x", cpu=99)], types=TYPES, pools=tried))
    assert [reason.pool for reason in found.unplaced[PodUID("x")]] == ["heavy", "a", "b"]


def test_without_pools_the_reason_is_that() -> None:
    (reason,) = plan(snapshot([pod("x")], pools=[])).unplaced[PodUID("x")]
    assert (reason.pool, reason.code) == ("", "NoNodePool")


def test_equal_pods_share_their_reasons() -> None:
    found = plan(snapshot([pod("x", cpu=99), pod("y", cpu=99)], types=TYPES))
    assert found.unplaced[PodUID("x")] is found.unplaced[PodUID("y")]
