"""Whether a pod counts for a group where it will be: the node policies of a spread constraint let in only some nodes.

Of a pod that is to be packed with others the node is not known yet, only where it could be. So the answer is a pair:
whether it surely counts, and whether it may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autonodes.core.bitsets import bits, union
from autonodes.core.catalog import Catalog
from autonodes.core.lanes import Lane, Lanes
from autonodes.core.model import NodePool
from autonodes.core.requirements import Requirement, Requirements
from autonodes.core.selection import EVERY_NODE, Group, Groups
from autonodes.core.shapes import Shape
from autonodes.core.standing import Targets
from autonodes.core.taints import untolerated
from autonodes.core.targets import Place

Counting = tuple[bool, bool]
"""Whether a pod surely counts, and whether it may."""


def counts_there(place: Place, group: Group) -> Counting:
    """Whether pods on a node or claim count for a group, by its node policies."""
    terms, tolerations, keys = group.nodes
    if tolerations is not None and untolerated(place.taints, tolerations) is not None:
        return False, False
    if place.labels is not None:
        counts = keys <= place.labels.keys() and (not terms or place.satisfies(terms))
        return counts, counts
    return all(map(place.values, keys)) and (not terms or place.satisfies(terms)), True


class Counts:
    """The answers for pods that are pinned to domains, each worked out once."""

    def __init__(
        self, catalog: Catalog, lanes: Lanes, pools: Iterable[NodePool], targets: Targets, groups: Groups
    ) -> None:
        self._catalog, self._lanes, self._targets, self._groups = catalog, lanes, targets, groups
        self._taints = {pool.name: pool.taints for pool in pools}
        self._known: dict[object, Counting] = {}

    def of(self, pinned: Shape, number: int) -> Counting:
        """Wherever its pods are put."""
        group = self._groups.groups[number]
        if group.nodes == EVERY_NODE:
            return True, True
        key = (number, pinned.constraints, pinned.host_ports)
        if key not in self._known:
            found = [self._on_lane(lane, group) for lane in self._lanes.of(pinned)]
            found += self._on_places(self._targets.accepting(pinned), group)
            self._known[key] = all(surely for surely, _ in found), any(maybe for _, maybe in found)
        return self._known[key]

    def _on_places(self, mask: int, group: Group) -> Iterator[Counting]:
        standing = self._targets.standing
        counting = union(standing.making(group).values())
        if nodes := mask & standing.nodes:
            yield not nodes & ~counting, bool(nodes & counting)
        for index in bits(mask & ~standing.nodes):
            yield counts_there(standing.places[index], group)

    def _on_lane(self, lane: Lane, group: Group) -> Counting:
        terms, tolerations, keys = group.nodes
        if tolerations is not None and untolerated(self._taints[lane.pool], tolerations) is not None:
            return False, False
        labels = self._catalog.labels
        present = Requirements(Requirement.of(key, "Exists") for key in keys)
        asked = [term & present for term in terms or (Requirements(),)]
        suiting = union(labels.satisfying(lane.pool, term) for term in asked)
        settled = (term for term in asked if lane.open.subset_of(labels.undecided(lane.pool, term)))
        surely = union(labels.satisfying(lane.pool, term) for term in settled)
        return not lane.rows & ~surely, bool(lane.rows & suiting)
