"""Why there is no domain for a pod, in words that name the rule and what is in the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from autonodes.core.census import Census
from autonodes.core.model import Reason
from autonodes.core.selection import Groups
from autonodes.core.topology import ApartRule, NearRule, SpreadRule, Topology

SPREAD: Final = "TopologySpread"
AFFINITY: Final = "PodAffinity"
ANTI_AFFINITY: Final = "PodAntiAffinity"

Rule = SpreadRule | NearRule | ApartRule


class DomainReasons:
    """:param options: the values that nodes have or could have at a key"""

    def __init__(self, groups: Groups, census: Census, options: Callable[[str], Iterable[str]]) -> None:
        self._groups, self._census, self._options = groups, census, options

    def of(self, topology: Topology, broken: Sequence[Rule | int | None], founded: Collection[int]) -> Reason:
        """:param broken: for each combination of domains the first rule in the way; a number if it is a rule of others
        :param founded: groups of which the others must be where the first one is
        """
        rule = next((each for each in broken if each is not None), None)
        if rule is None:
            keys = ", ".join(sorted({each.key for each in topology.rules}))
            return Reason(pool="", code=SPREAD, text=f"no node that would do has or could have the label {keys}")
        if isinstance(rule, SpreadRule):
            counts = self._census.counts[rule.group]
            there = ", ".join(f"{value}: {counts.get(value, 0)}" for value in self._options(rule.key))
            text = f"would exceed maxSkew {rule.max_skew} of topology spread by {rule.key} ({there})"
            return Reason(pool="", code=SPREAD, text=text)
        if isinstance(rule, NearRule):
            text = f"pod affinity by {rule.key}: no pod that it selects runs or will run where this pod could"
            return Reason(pool="", code=AFFINITY, text=text)
        if isinstance(rule, ApartRule):
            text = f"pod anti-affinity by {rule.key}: every domain has a pod that it selects"
            return Reason(pool="", code=ANTI_AFFINITY, text=text)
        key = self._groups.groups[rule].key
        if rule in founded:
            return Reason(pool="", code=AFFINITY, text=f"other pods need it beside them by {key}, where it can't be")
        text = f"the anti-affinity of other pods by {key} keeps it out of every domain"
        return Reason(pool="", code=ANTI_AFFINITY, text=text)
