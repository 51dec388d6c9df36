"""The judge of topology: spread, affinity and anti-affinity, one pod at a time on the state that a plan leads to.

Each pod of the plan is looked at as if it were the last to be bound, with all others where they are or will be. Only
planned pods that a spread counts and that have none of the same kind may come after it: nothing keeps them from where
they go, and there may be no other place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autonodes.core.labels import HOSTNAME
from autonodes.core.model import Plan, Pod, PodUID, Purchase, Snapshot
from autonodes.core.podterms import PodSelector, Spread
from autonodes.core.taints import untolerated


@dataclass(frozen=True)
class Place:
    """:param values: what its label at a key is or may be; None for a node of which that is not known"""

    name: str
    labels: Mapping[str, str]
    purchase: Purchase | None = None

    def value(self, key: str) -> str | None:
        if key == HOSTNAME:
            return self.name
        return self.labels.get(key)

    def values(self, key: str) -> frozenset[str]:
        if key == HOSTNAME or self.purchase is None:
            value = self.value(key)
            return frozenset() if value is None else frozenset((value,))
        return self.purchase.requirements.allowed(key).values


def topology_violations(snapshot: Snapshot, plan: Plan) -> list[str]:
    return list(_State(snapshot, plan).violations())


class _State:
    def __init__(self, snapshot: Snapshot, plan: Plan) -> None:
        self._snapshot = snapshot
        nodes = {node.name: Place(node.name, node.labels) for node in snapshot.nodes}
        self._nodes = {node.name: node for node in snapshot.nodes}
        self.places: dict[PodUID, Place] = {
            pod.uid: nodes[pod.node_name] for pod in snapshot.pods if pod.node_name in nodes and not pod.terminal
        }
        self.planned: dict[PodUID, Place] = {uid: nodes[name] for uid, name in plan.placements.items() if name in nodes}
        for number, purchase in enumerate(plan.purchases):
            allowed = purchase.requirements
            labels = {key: each.single for key, each in allowed.items() if each.single is not None}
            place = Place(f"bought-{number}", {key: value for key, value in labels.items() if value}, purchase)
            self.planned.update((uid, place) for uid in purchase.pods)
        self.places.update(self.planned)
        self._pods = {pod.uid: pod for pod in snapshot.pods}

    def violations(self) -> Iterator[str]:
        for uid, place in self.planned.items():
            pod = self._pods[uid]
            for term in pod.apart:
                yield from self._too_near(pod, place, term.key, term.selector)
            for term in pod.near:
                yield from self._too_far(pod, place, term.key, term.selector)
            for rule in pod.spread:
                if rule.hard:
                    yield from self._skewed(pod, place, rule)
        yield from self._intruders()

    def _selected(self, selector: PodSelector, but: Pod) -> Iterator[tuple[Pod, Place]]:
        for uid, place in self.places.items():
            other = self._pods[uid]
            if uid != but.uid and selector.selects(other.namespace, other.labels, self._snapshot.namespaces):
                yield other, place

    def _too_near(self, pod: Pod, place: Place, key: str, selector: PodSelector) -> Iterator[str]:
        for other, there in self._selected(selector, pod):
            if place.values(key) & there.values(key):
                yield f"{pod.name} must not be with {other.name} in one {key}"

    def _intruders(self) -> Iterator[str]:
        for uid, place in self.places.items():
            holder = self._pods[uid]
            if uid not in self.planned:
                for term in holder.apart:
                    for other, there in self._selected(term.selector, holder):
                        if other.uid in self.planned and place.values(term.key) & there.values(term.key):
                            yield f"{holder.name} keeps {other.name} away"

    def _too_far(self, pod: Pod, place: Place, key: str, selector: PodSelector) -> Iterator[str]:
        others = list(self._selected(selector, pod))
        own = selector.selects(pod.namespace, pod.labels, self._snapshot.namespaces)
        if place.value(key) is None:
            yield f"{pod.name} has no {key}"
        elif not any(there.value(key) == place.value(key) for _, there in others) and (others or not own):
            yield f"{pod.name} is alone in its {key}"

    def _skewed(self, pod: Pod, place: Place, rule: Spread) -> Iterator[str]:
        here = place.value(rule.key)
        if here is None:
            yield f"{pod.name} has no {rule.key}"
            return
        others = list(self._selected(rule.selector, pod))
        before = [(other, there) for other, there in others if not self._may_come_after(other, rule)]
        own = rule.selector.selects(pod.namespace, pod.labels, self._snapshot.namespaces)
        if all(self._skew(pod, here, rule, among) + own > rule.max_skew for among in (others, before)):
            yield f"{pod.name} makes the skew of {rule.key} in {here} too large"

    def _may_come_after(self, other: Pod, rule: Spread) -> bool:
        alike = (each for each in other.spread if each.hard and each.key == rule.key)
        return other.uid in self.planned and not any(each.selector == rule.selector for each in alike)

    def _skew(self, pod: Pod, here: str, rule: Spread, others: Iterable[tuple[Pod, Place]]) -> int:
        """How many more of these there are in the domain than in the emptiest one."""
        counts = self._domains(pod, rule)
        counts.setdefault(here, 0)
        for other, there in others:
            value = there.value(rule.key)
            if value is not None and other.deleted_at is None and self._counts(pod, rule, there):
                counts[value] = counts.get(value, 0) + 1
        fewest = 0 if rule.key == HOSTNAME or len(counts) < rule.min_domains else min(counts.values())
        return counts[here] - fewest

    def _domains(self, pod: Pod, rule: Spread) -> dict[str, int]:
        """Of the nodes that exist and of those that the plan buys."""
        here = [Place(node.name, node.labels) for node in self._snapshot.nodes]
        places = [*here, *self.planned.values()]
        values = (place.value(rule.key) for place in places if self._counts(pod, rule, place))
        return {value: 0 for value in values if value is not None}

    def _counts(self, pod: Pod, rule: Spread, place: Place) -> bool:
        """Whether pods there count, by the node policies of the constraint."""
        terms = pod.required_terms if rule.honor_affinity else ()
        if place.purchase is not None:
            pool = next(pool for pool in self._snapshot.pools if pool.name == place.purchase.pool)
            if rule.honor_taints and untolerated(pool.taints, pod.tolerations) is not None:
                return False
            return not terms or any(place.purchase.requirements.compatible(term) for term in terms)
        if terms and not any(term.satisfied_by(place.labels) for term in terms):
            return False
        node = self._nodes[place.name]
        return not rule.honor_taints or untolerated(node.taints, pod.tolerations) is None
