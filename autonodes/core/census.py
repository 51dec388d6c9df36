"""How many pods of each group are in which domain, running and planned, and where anti-affinity keeps others out.

What kube-scheduler counts: pods that are bound, on nodes that carry the label; for spread without those that are being
deleted, and only on nodes that the node policies let in. Pods that an earlier plan has promised count as if they were
there.

Of a planned pod it is not always known whether it will count: its node may turn out to be one that the node policies
let in, or not. So there are two numbers, of the pods that *may* be there and of those that surely will, and whoever
asks takes the one that is worse for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from autonodes.core.bitsets import bits
from autonodes.core.counting import Counting, counts_there
from autonodes.core.labels import HOSTNAME
from autonodes.core.selection import Group, Groups
from autonodes.core.standing import Standing
from autonodes.core.targets import Target
from autonodes.core.topology import Topology


class Census:
    """:param gone: mask of the places that are thought away
    :param made: group → domains that purchases will make
    :ivar counts: group → domain → pods that may count, for domains that are larger than nodes
    :ivar sure: the same of those that surely do
    :ivar held: group → domains where an anti-affinity keeps pods of the group out
    """

    def __init__(
        self, standing: Standing, groups: Groups, gone: int, made: Mapping[int, frozenset[str]] | None = None
    ) -> None:
        self._standing, self._groups, self._gone, self._made = standing, groups, gone, made or {}
        self._unsaid: set[int] = set()
        self._members = standing.members(groups)
        self.counts = [self._counted(number) for number in range(len(groups.groups))]
        self.sure = [defaultdict(int, counts) for counts in self.counts]
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
        """Those that nodes and purchases make which the group's node policies let in."""
        if group not in self._domains:
            there = self._standing.making(self.group(group))
            made = self._made.get(group, frozenset())
            self._domains[group] = made | {domain for domain, where in there.items() if where & ~self._gone}
        return self._domains[group]

    def group(self, number: int) -> Group:
        return self._groups.groups[number]

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
        for number in topology.counted:
            group = self.group(number)
            values = target.place.values(group.key)
            surely, maybe = counts_there(target.place, group)
            for value in values if maybe else ():
                self.counts[number][value] += 1
                self.sure[number][value] += int(surely and len(values) == 1)
        for rule in topology.apart:
            self.held[rule.group].update(target.place.values(rule.key))

    def settle(
        self, topology: Topology, at: Mapping[str, str], counting: Callable[[int], Counting], *, said: bool = True
    ) -> None:
        """A pod goes to these domains: label key → value.

        :param counting: whether it counts there for a group
        :param said: a key that is missing means that the node has no such label; else it is not known
        """
        for group in topology.counted:
            value = at.get(self._groups.groups[group].key)
            surely, maybe = counting(group)
            if value is not None:
                self.counts[group][value] += maybe
                self.sure[group][value] += surely
            elif not said:
                self._unsaid.add(group)
        for rule in topology.apart:
            if rule.key in at:
                self.held[rule.group].add(at[rule.key])

    def anywhere(self, group: int) -> bool:
        """Whether some pod of the group is, or may be, in a domain."""
        return group in self._unsaid or any(self.counts[group].values())


def universe(possible: Sequence[str], present: frozenset[str]) -> list[str]:
    """All domains that count: those that could be made and those that exist."""
    return sorted({*possible, *present})
