"""How many pods of each group are in which domain, running and planned, and where anti-affinity keeps others out.

What kube-scheduler counts: pods that are bound, on nodes that carry the label; for spread without those that are being
deleted, and only on nodes that the node policies let in. Pods that an earlier plan has promised count as if they were
there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from autonodes.core.caps import Caps
from autonodes.core.labels import HOSTNAME
from autonodes.core.model import Node, Pod, Snapshot
from autonodes.core.selection import Group, Groups
from autonodes.core.taints import untolerated
from autonodes.core.targets import Target, Usage, node_labels
from autonodes.core.topology import Topology, group_of


class Census:
    """:param counts: group → domain → pods
    :param held: group → domains where an anti-affinity keeps pods of the group out
    """

    def __init__(self, snapshot: Snapshot, groups: Groups, usage: Usage, targets: Iterable[Target]) -> None:
        self._groups = groups
        self.counts: list[dict[str, int]] = [defaultdict(int) for _ in groups.groups]
        self.held: list[set[str]] = [set() for _ in groups.groups]
        self._nodes = {node.name: node for node in snapshot.nodes} if groups.groups else {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._targets = {target.name: target for target in targets}
        self._domains: dict[int, frozenset[str]] = {}
        if groups.groups:
            for name, pods in usage.pods.items():
                for pod in pods:
                    self._count(pod, name)

    @property
    def present(self) -> frozenset[int]:
        """The groups that have a pod anywhere."""
        return frozenset(group for group, counts in enumerate(self.counts) if any(counts.values()))

    def domains(self, group: int) -> frozenset[str]:
        """Those that nodes make which the group's node policies let in."""
        if group not in self._domains:
            of = self._groups.groups[group]
            values = (self._label(node, of) for node in self._nodes.values())
            self._domains[group] = frozenset(value for value in values if value is not None)
        return self._domains[group]

    def promised(self, topology: Topology, target: Target) -> None:
        """A pod will go where it was promised. A claim whose domain is not decided counts in each that it may have."""
        for group in topology.counted:
            for value in target.values(self._groups.groups[group].key):
                self.counts[group][value] += 1
        for rule in topology.apart:
            self.held[rule.group].update(target.values(rule.key))

    def settle(self, topology: Topology, at: Mapping[str, str]) -> None:
        """A pod goes to these domains: label key → value."""
        for group in topology.counted:
            value = at.get(self._groups.groups[group].key)
            if value is not None:
                self.counts[group][value] += 1
        for rule in topology.apart:
            self.held[rule.group].add(at[rule.key])

    def total(self, group: int) -> int:
        return sum(self.counts[group].values())

    def _count(self, pod: Pod, name: str) -> None:
        node, target = self._nodes.get(name), self._targets.get(name)
        if node is None:
            return
        for number in self._groups.of(pod):
            group = self._groups.groups[number]
            if group.staying and pod.deleted_at is not None:
                continue
            if group.key == HOSTNAME and target is not None:
                target.tally.add(Caps(frozenset((number,))))
            value = self._label(node, group)
            if value is not None:
                self.counts[number][value] += 1
        for term in pod.apart:
            number = self._groups.number(group_of(term))
            if term.key == HOSTNAME:
                if target is not None:
                    target.tally.add(Caps(limits=((number, int(number in self._groups.of(pod))),)))
            elif (value := self._known(node).get(term.key)) is not None:
                self.held[number].add(value)

    def _label(self, node: Node, group: Group) -> str | None:
        """The domain that the node is in; None if it has none or if pods on it don't count for the group."""
        labels = self._known(node)
        terms, tolerations = group.nodes
        if terms and not any(term.satisfied_by(labels) for term in terms):
            return None
        if tolerations is not None and untolerated(node.taints, tolerations) is not None:
            return None
        return node.name if group.key == HOSTNAME else labels.get(group.key)

    def _known(self, node: Node) -> Mapping[str, str]:
        if node.name not in self._labels:
            target = self._targets.get(node.name)
            labels = target.labels if target is not None else None
            self._labels[node.name] = labels if labels is not None else node_labels(node)
        return self._labels[node.name]


def inverse(usage: Usage) -> list[Pod]:
    """The running pods whose anti-affinity keeps others away."""
    return [pod for pods in usage.pods.values() for pod in pods if pod.apart]


def universe(possible: Sequence[str], present: frozenset[str]) -> list[str]:
    """All domains that count: those that could be made and those that exist."""
    return sorted({*possible, *present})
