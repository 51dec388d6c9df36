"""What the planner would do if some nodes were not there: the same planner, on the snapshot without them.

First it is seen what becomes of the pods that wait, those on nodes that are leaving included. Those that have a place
keep it in every simulation; those that are bought for, or can't be placed, are somebody else's business and are left
out, so that a purchase in a simulation is one for the nodes' own pods.

All simulations of one decision share what stands (`standing`), with the nodes in question thought away. Only where
groups of pods or claims for devices have a say is the snapshot made anew without the nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from autonodes.core.emptiness import as_waiting, holds
from autonodes.core.gangs import group_of
from autonodes.core.labels import DISRUPTED_TAINT
from autonodes.core.model import Node, Plan, Pod, PodUID, Snapshot
from autonodes.core.planner import open_scene, plan, plan_scene
from autonodes.core.shapes import in_order, is_expendable
from autonodes.core.targets import pair


class Simulation:
    """:param promised: nodes and claims where pods that wait will go"""

    def __init__(self, snapshot: Snapshot) -> None:
        self._claims = pair(snapshot)
        leaving = {node.name for node in snapshot.nodes if self._is_leaving(node)}
        pods = tuple(_seen(pod, leaving, snapshot) for pod in snapshot.pods)
        outlook = plan(replace(snapshot, pods=pods))
        nominated = {pod.nominated_node for pod in snapshot.pods if pod.nominated_node and not pod.node_name}
        self.promised = frozenset((*outlook.placements.values(), *nominated))
        settled = tuple(pod for pod in pods if pod.node_name or pod.uid in outlook.placements)
        self._snapshot = replace(snapshot, pods=settled, nominations=outlook.placements)
        self._scene = open_scene(self._snapshot)
        self._devices = any(each.devices for types in snapshot.instance_types.values() for each in types)
        self._by_node: dict[str, list[Pod]] = defaultdict(list)
        self._moved: dict[str, list[Pod]] = {}
        for pod in settled:
            if pod.node_name and moves(pod, snapshot.now):
                self._by_node[pod.node_name].append(pod)

    def _is_leaving(self, node: Node) -> bool:
        claim = self._claims.get(node.name)
        going = node.deleted_at is not None or (claim is not None and claim.deleted_at is not None)
        return going or any(taint.key == DISRUPTED_TAINT for taint in node.taints)

    def pods_on(self, node: str) -> list[Pod]:
        """Those that would have to run elsewhere."""
        return self._by_node.get(node, [])

    def without(self, nodes: Collection[str]) -> Plan:
        """The plan for the pods of these nodes, with all other nodes and claims there."""
        waiting = [*self._scene.waiting, *(pod for name in nodes for pod in self._moved_from(name))]
        if self._devices or any(group_of(pod) or pod.resource_claims for pod in waiting):
            return plan(self.rest(nodes))
        gone = self._scene.standing.mask(nodes)
        return plan_scene(replace(self._scene, waiting=in_order(waiting), gone=gone))

    def _moved_from(self, node: str) -> list[Pod]:
        """The same as they would wait; made once, for a node is simulated to be gone again and again."""
        if node not in self._moved:
            self._moved[node] = [moved(pod) for pod in self.pods_on(node)]
        return self._moved[node]

    def rest(self, nodes: Collection[str]) -> Snapshot:
        """What is left without these nodes: a snapshot of which the plan is the same."""
        gone = frozenset(nodes)
        behind = {self._claims[name].uid for name in gone if name in self._claims}
        now = self._snapshot.now
        return replace(
            self._snapshot,
            pods=tuple(
                moved(pod) if pod.node_name in gone and moves(pod, now) else pod
                for pod in self._snapshot.pods
                if pod.node_name not in gone or moves(pod, now)
            ),
            nodes=tuple(node for node in self._snapshot.nodes if node.name not in gone),
            claims=tuple(claim for claim in self._snapshot.claims if claim.uid not in behind),
        )


def moves(pod: Pod, now: float) -> bool:
    """Whether a pod has to run elsewhere when its node goes; one that is on its way out has its successor already."""
    return pod.deleted_at is None and holds(pod, now)


def _seen(pod: Pod, leaving: Collection[str], snapshot: Snapshot) -> Pod:
    if pod.node_name in leaving and moves(pod, snapshot.now):
        return moved(pod)
    return pod if pod.node_name or is_expendable(pod) else as_waiting(pod, snapshot.nominations)


def moved(pod: Pod) -> Pod:
    """The pod as one that waits for a node."""
    return replace(pod, node_name="", nominated_node="", phase="Pending", unschedulable=True, ready=False)


def owners(plan_: Plan, pods: dict[PodUID, str]) -> list[frozenset[str]]:
    """The nodes whose pods share purchases, directly or through others: what can only go together.

    :param pods: pod → its node
    """
    groups: dict[str, frozenset[str]] = {node: frozenset((node,)) for node in pods.values()}
    for purchase in plan_.purchases:
        joined = frozenset().union(*(groups[pods[uid]] for uid in purchase.pods if uid in pods))
        groups.update(dict.fromkeys(joined, joined))
    return sorted(set(groups.values()), key=min)
