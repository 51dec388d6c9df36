"""NodeOverlays: what a user knows better than the provider about prices and about what machines have.

An overlay changes the offerings whose labels meet its requirements: their price, or the capacity of their types. Where
several want to change the same thing, the one of the greatest weight does; of equal weight they contradict each other,
and the one whose name comes first in the alphabet is not applied at all, as in Karpenter.

An overlay is applied everywhere or nowhere, so its contradictions are looked for in all pools first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import InstanceType, NodePool, Offering
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A NodeOverlay.

    :param price: dollars an hour in place of the provider's; None to leave it
    :param percent: what is added to the price, in percent of it
    :param surcharge: what is added to the price, in dollars an hour
    :param capacity: resources that machines have beside those that the provider knows
    """

    name: str
    weight: int = 0
    requirements: Requirements = field(default_factory=Requirements)
    price: float | None = None
    percent: float = 0.0
    surcharge: float = 0.0
    capacity: Resources = field(default_factory=dict)

    @property
    def prices(self) -> bool:
        """Whether it changes prices."""
        return self.price is not None or bool(self.percent or self.surcharge)

    def priced(self, price: float | None) -> float | None:
        """The price that it makes of one; what is not known stays so if it is only adjusted."""
        if self.price is not None:
            return self.price
        return None if price is None else max(0.0, price * (1 + self.percent / 100) + self.surcharge)


def in_order(overlays: Iterable[Overlay]) -> list[Overlay]:
    """Those that win first: the weightiest, of equal weight the last in the alphabet."""
    by_name = sorted(overlays, key=lambda overlay: overlay.name, reverse=True)
    return sorted(by_name, key=lambda overlay: -overlay.weight)


def contradictions(
    overlays: Iterable[Overlay], pools: Iterable[NodePool], instance_types: Mapping[str, Sequence[InstanceType]]
) -> dict[str, str]:
    """Overlay → the one of the same weight that changes the same thing and is applied in its place."""
    claimed: dict[tuple[object, ...], Overlay] = {}
    refused: dict[str, str] = {}
    listed = list(pools)
    for overlay in in_order(overlays):
        changes = [each for pool in listed for each in _changes(overlay, pool, instance_types.get(pool.name, ()))]
        rivals = (claimed[change] for change in changes if change in claimed)
        rival = next((each for each in rivals if each.weight == overlay.weight), None)
        if rival is not None:
            refused[overlay.name] = rival.name
        else:
            claimed.update(dict.fromkeys(changes, overlay))
    return refused


def overlaid(
    overlays: Iterable[Overlay], pool: NodePool, instance_types: Iterable[InstanceType]
) -> tuple[InstanceType, ...]:
    """The types as the pool's nodes will have them; the same objects where no overlay changes anything.

    :param overlays: without those that contradict others
    """
    ordered = in_order(overlays)
    return tuple(_overlaid(ordered, pool, each) for each in instance_types)


def _overlaid(overlays: Sequence[Overlay], pool: NodePool, instance_type: InstanceType) -> InstanceType:
    matching = [(overlay, met) for overlay in overlays if (met := _met(overlay, pool, instance_type))]
    if not matching:
        return instance_type
    capacity: dict[str, int] = {}
    for overlay, _ in reversed(matching):
        capacity.update(overlay.capacity)
    offerings = list(instance_type.offerings)
    for place, offering in enumerate(offerings):
        first = next((overlay for overlay, met in matching if overlay.prices and place in met), None)
        if first is not None:
            offerings[place] = replace(offering, price=first.priced(offering.price))
    return replace(instance_type, capacity={**instance_type.capacity, **capacity}, offerings=tuple(offerings))


def _changes(overlay: Overlay, pool: NodePool, instance_types: Iterable[InstanceType]) -> Iterator[tuple[object, ...]]:
    """What it would change: offerings' prices and types' resources."""
    for instance_type in instance_types:
        met = _met(overlay, pool, instance_type)
        if overlay.prices:
            yield from ((pool.name, instance_type.name, place) for place in met)
        if met:
            yield from ((pool.name, instance_type.name, resource) for resource in overlay.capacity)


def _met(overlay: Overlay, pool: NodePool, instance_type: InstanceType) -> list[int]:
    """The offerings that meet its requirements, by their places."""
    named = {**pool.labels, NODE_POOL: pool.name, INSTANCE_TYPE: instance_type.name}
    of_offering = overlay.requirements.only((ZONE, CAPACITY_TYPE))
    of_type = overlay.requirements.without((ZONE, CAPACITY_TYPE))
    fixed = Requirements.from_labels(named)
    known = fixed & instance_type.requirements.without(fixed)
    if not known.compatible(of_type, ()):
        return []
    return [place for place, each in enumerate(instance_type.offerings) if of_offering.satisfied_by(_labels(each))]


def _labels(offering: Offering) -> dict[str, str]:
    known = {ZONE: offering.zone, CAPACITY_TYPE: offering.capacity_type}
    return {key: value for key, value in known.items() if value}
