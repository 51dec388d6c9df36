"""What is remembered from one plan to the next changes no plan: neither that of the same cluster without some nodes nor
that of a cluster in which something changed."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonodes.core.labels import CAPACITY_TYPE, HOSTNAME, INITIALIZED, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import Claim, Node, Plan, Purchase, Snapshot
from autonodes.core.planner import plan
from autonodes.core.simulation import Simulation
from properties.snapshot_strategies import snapshots

thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
EMPTY = Snapshot(now=0.0, pods=(), nodes=(), claims=(), pools=(), instance_types={})


def carried_out(snapshot: Snapshot, made: Plan) -> Snapshot:
    """The cluster once the purchases are nodes and the pods run."""
    bought = [_node(f"bought-{number}", each, snapshot) for number, each in enumerate(made.purchases)]
    homes = {uid: f"bought-{number}" for number, each in enumerate(made.purchases) for uid in each.pods}
    homes.update(made.placements)
    pods = tuple(
        replace(pod, node_name=homes[pod.uid], phase="Running", unschedulable=False) if pod.uid in homes else pod
        for pod in snapshot.pods
    )
    return replace(
        snapshot,
        pods=pods,
        nodes=(*snapshot.nodes, *(node for node, _ in bought)),
        claims=(*snapshot.claims, *(claim for _, claim in bought)),
    )


def _node(name: str, purchase: Purchase, snapshot: Snapshot) -> tuple[Node, Claim]:
    kind, zone, capacity_type, _ = purchase.candidates[0]
    machine = next(each for each in snapshot.instance_types[purchase.pool] if each.name == kind)
    labels = {**machine.requirements.labels(), **purchase.requirements.labels(), HOSTNAME: name}
    labels |= {NODE_POOL: purchase.pool, INSTANCE_TYPE: kind, ZONE: zone, CAPACITY_TYPE: capacity_type}
    room: dict[str, Any] = {"capacity": machine.capacity, "allocatable": machine.allocatable}
    taints = next(pool.taints for pool in snapshot.pools if pool.name == purchase.pool)
    claim = Claim(
        name=name, uid=f"uid-{name}", pool=purchase.pool, requirements=purchase.requirements, labels=labels,
        taints=taints, node_name=name, launched=True, registered=True, initialized=True, **room,
    )  # fmt: skip
    return Node(name=name, labels={**labels, INITIALIZED: "true"}, taints=taints, ready=True, **room), claim


@thorough
@given(snapshots(), st.data())
def test_thinking_nodes_away_gives_the_plan_of_a_cluster_that_has_none(snapshot: Snapshot, data: st.DataObject) -> None:
    simulation = Simulation(carried_out(snapshot, plan(snapshot)))
    names = [node.name for node in simulation.rest(()).nodes]
    for _ in range(3):
        gone = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        assert simulation.without(gone) == plan(simulation.rest(gone))


@thorough
@given(snapshots(), st.data())
def test_what_was_planned_before_does_not_matter(snapshot: Snapshot, data: st.DataObject) -> None:
    later = carried_out(snapshot, plan(snapshot))
    waiting = data.draw(st.sets(st.sampled_from([pod.uid for pod in later.pods]))) if later.pods else set()
    pods = tuple(replace(pod, node_name="", unschedulable=True) if pod.uid in waiting else pod for pod in later.pods)
    changed = replace(later, pods=pods)
    plan(later)
    after = plan(changed)
    plan(EMPTY)
    assert plan(changed) == after
