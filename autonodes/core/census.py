"""How many pods of each group are in which domain, running and planned, and where anti-affinity keeps others out.

What kube-scheduler counts: pods that are bound, on nodes that carry the label; for spread without those that are being
deleted, and only on nodes that the node policies let in. Pods that an earlier plan has promised count as if they were
there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from autonodes.core.bitsets import bits
from autonodes.core.labels import HOSTNAME
from autonodes.core.selection import Group, Groups
from autonodes.core.standing import Standing
from autonodes.core.targets import Target
from autonodes.core.topology import Topology


class Census:
    """:param gone: mask of the places that are thought away
    :ivar counts: group → domain → pods, for domains that are larger than nodes
    :ivar held: group → domains where an anti-affinity keeps pods of the group out
    """

    def __init__(self, standing: Standing, groups: Groups, gone: int) -> None:
        self._standing, self._groups, self._gone = standing, groups, gone
        self._members = standing.members(groups)
        self.counts = [self._counted(number) for number in range(len(groups.groups))]
        self.held = [self._keeping_out(group) for group in groups.groups]
        self._domains: dict[int, frozenset[str]] = {}

    @property
    def present(self) -> frozenset[int]:
        """The groups that have a pod anywhere."""
        return frozenset(
            group
            for group, counts in enumerate(self.counts)
            if any(counts.values()) or self._members[group].above(0) & ~self._gone
        )

    def domains(self, group: int) -> frozenset[str]:
        """Those that nodes make which the group's node policies let in."""
        if group not in self._domains:
            there = self._standing.making(self._groups.groups[group])
            self._domains[group] = frozenset(domain for domain, where in there.items() if where & ~self._gone)
        return self._domains[group]

    def _counted(self, number: int) -> dict[str, int]:
        counts: dict[str, int] = defaultdict(int, self._members[number].domains)
        if counts:
            domains, at = self._standing.domains(self._groups.groups[number]), self._members[number].at
            for index in bits(self._gone):
                if index in at:
                    counts[domains[index]] -= at[index]
        return counts

    def _keeping_out(self, group: Group) -> set[str]:
        if group.key == HOSTNAME:
            return set()
        return {domain for domain, where in self._standing.keepers.get(group, {}).items() if where & ~self._gone}

    def promised(self, topology: Topology, target: Target) -> None:
        """A pod will go where it was promised. A claim whose domain is not decided counts in each that it may have."""
        for group in topology.counted:
            for value in target.place.values(self._groups.groups[group].key):
                self.counts[group][value] += 1
        for rule in topology.apart:
            self.held[rule.group].update(target.place.values(rule.key))

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


def universe(possible: Sequence[str], present: frozenset[str]) -> list[str]:
    """All domains that count: those that could be made and those that exist."""
    return sorted({*possible, *present})
