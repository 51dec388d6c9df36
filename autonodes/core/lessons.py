"""What one attempt at a plan teaches the next: things that are only known once nodes have been packed.

Domains are chosen before anything is packed. Afterwards it shows where pods found no node, which domains came into
being through the purchases for other pods, and which spread could not be kept because pods that it only counts went
where they are cheapest. Then the plan is made anew with that in mind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from autonodes.core.census import Census
from autonodes.core.domains import Domains
from autonodes.core.model import NodePool, PodUID, Purchase, Reason
from autonodes.core.requirements import Requirements
from autonodes.core.selection import Group
from autonodes.core.taints import untolerated


@dataclass
class Lessons:
    """:param ceilings: pinned shape → how many of its pods found a place, where not all did
    :param why: the same shapes → what kept the others from one
    :param made: group of a spread → domains that purchases make
    :param even: groups of spreads for which also those pods must be even that are only counted
    """

    ceilings: dict[object, int] = field(default_factory=dict)
    why: dict[object, tuple[Reason, ...]] = field(default_factory=dict)
    made: dict[int, frozenset[str]] = field(default_factory=dict)
    even: set[int] = field(default_factory=set)

    def learn(
        self,
        domains: Domains,
        census: Census,
        left: Mapping[PodUID, tuple[Reason, ...]],
        purchases: Iterable[Purchase],
        pools: Iterable[NodePool],
    ) -> bool:
        """:param left: pods that have no place, and why
        :return: whether there is anything new
        """
        ceilings = _achieved(domains, left) if left else {}
        made = _new_domains(domains, census, purchases, pools)
        even = domains.unkept & domains.crowded - self.even
        self.ceilings.update(ceilings)
        for shape in ceilings:
            self.why[shape] = next(left[pod.uid] for pod in domains.pinned[shape] if pod.uid in left)
        self.made.update({group: self.made.get(group, frozenset()) | found for group, found in made.items()})
        self.even |= even
        return bool(ceilings or made or even)


def _achieved(domains: Domains, left: Collection[PodUID]) -> Mapping[object, int]:
    placed = {key: sum(pod.uid not in left for pod in pods) for key, pods in domains.pinned.items()}
    return {key: count for key, count in placed.items() if count < len(domains.pinned[key])}


def _new_domains(
    domains: Domains, census: Census, purchases: Iterable[Purchase], pools: Iterable[NodePool]
) -> dict[int, frozenset[str]]:
    """Domains that nobody thought of in which a spread has too few pods now."""
    if not domains.spread:
        return {}
    by_name = {pool.name: pool for pool in pools}
    distinct = {id(each.requirements): each for each in purchases}.values()
    found: dict[int, set[str]] = defaultdict(set)
    for number, (skew, known) in domains.spread.items():
        counts = census.counts[number]
        enough = max(counts.values(), default=0) - skew
        for purchase in distinct:
            new = _domains(purchase, census.group(number), by_name[purchase.pool]) - known
            found[number].update(value for value in new if counts.get(value, 0) < enough)
    return {number: frozenset(values) for number, values in found.items() if values}


def _domains(purchase: Purchase, group: Group, pool: NodePool) -> frozenset[str]:
    """Those that the node may be in, if the group's node policies let it count."""
    terms, tolerations, _ = group.nodes
    if tolerations is not None and untolerated(pool.taints, tolerations) is not None:
        return frozenset()
    suiting = [term for term in terms or (Requirements(),) if purchase.requirements.compatible(term)]
    allowed = [(purchase.requirements & term).allowed(group.key) for term in suiting]
    return frozenset().union(*(each.values for each in allowed if not each.complement))
