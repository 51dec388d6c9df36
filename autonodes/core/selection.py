"""Which pods count for which others.

Every selector of a spread constraint, an affinity or an anti-affinity term, with the label that makes its domains, is a
*group* with a number. Pods of many workloads meet selectors of many others, so a group is looked up by one of the
labels that its selector demands, and what a set of labels belongs to is worked out once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from autonodes.core.labels import HOSTNAME
from autonodes.core.model import Pod, Toleration
from autonodes.core.podterms import AllOf, PodSelector, Spread
from autonodes.core.requirements import Requirements


class NodeFilter(NamedTuple):
    """Only pods on such nodes count (``nodeAffinityPolicy``, ``nodeTaintsPolicy``).

    :param terms: any of them; empty for all nodes
    :param tolerations: of all taints; None for all nodes
    :param keys: labels that they must have: a node counts for a pod's constraints if it is in a domain of each
    """

    terms: tuple[Requirements, ...] = ()
    tolerations: tuple[Toleration, ...] | None = None
    keys: frozenset[str] = frozenset()


EVERY_NODE = NodeFilter()


@dataclass(frozen=True, slots=True)
class Group:
    """:param staying: pods that are being deleted don't count (as for spread, unlike affinity)"""

    key: str
    selector: PodSelector | AllOf
    staying: bool = False
    nodes: NodeFilter = EVERY_NODE


class Groups:
    """:param namespaces: the labels of each
    :ivar binding: the groups of which some pod requires something, and does not only wish it
    """

    def __init__(self, namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self.groups: list[Group] = []
        self.binding: set[int] = set()
        self._namespaces = namespaces
        self._numbers: dict[Group, int] = {}
        self._by_label: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._others: list[int] = []
        self._by_id: dict[tuple[int, str], frozenset[int]] = {}
        self._spreads: dict[tuple[int, int, int, int], int] = {}
        self._by_value: dict[tuple[frozenset[tuple[str, str]], str], frozenset[int]] = {}

    def number(self, group: Group) -> int:
        """All groups must have theirs before anybody asks for `of`."""
        number = self._numbers.get(group)
        if number is None:
            number = self._numbers[group] = len(self.groups)
            self.groups.append(group)
            self._index(number, group)
        return number

    def bind(self, groups: Iterable[Group]) -> None:
        """Number groups of which some pod requires something."""
        self.binding.update(map(self.number, groups))

    def spread(self, pod: Pod, rule: Spread) -> int:
        """The group whose numbers a constraint of the pod compares. The pod's parts must live as long as this."""
        key = (id(rule), id(pod.spread), id(pod.required_terms), id(pod.tolerations))
        if key not in self._spreads:
            self._spreads[key] = self._spread(pod, rule)
        return self._spreads[key]

    def _spread(self, pod: Pod, rule: Spread) -> int:
        terms = tuple(term for term in pod.required_terms if rule.honor_affinity)
        others = frozenset(each.key for each in pod.spread if each.hard and rule.hard) - {rule.key, HOSTNAME}
        nodes = NodeFilter(terms if all(terms) else (), pod.tolerations if rule.honor_taints else None, others)
        return self.number(Group(rule.key, rule.selector, staying=True, nodes=nodes))

    def of(self, pod: Pod) -> frozenset[int]:
        """The groups whose selectors mean the pod. The pod's labels must live as long as this."""
        if not self.groups:
            return _NONE
        key = (id(pod.labels), pod.namespace)
        found = self._by_id.get(key)
        if found is None:
            value = (frozenset(pod.labels.items()), pod.namespace)
            if value not in self._by_value:
                self._by_value[value] = self._selecting(pod)
            found = self._by_id[key] = self._by_value[value]
        return found

    def _selecting(self, pod: Pod) -> frozenset[int]:
        by_label = (self._by_label.get(pair, ()) for pair in pod.labels.items())
        candidates = [*self._others, *chain.from_iterable(by_label)]
        return frozenset(
            number
            for number in candidates
            if self.groups[number].selector.selects(pod.namespace, pod.labels, self._namespaces)
        )

    def _index(self, number: int, group: Group) -> None:
        labels = group.selector.labels
        if labels is None:
            return
        single = next(((key, value) for key, each in labels.items() if (value := each.single) is not None), None)
        if single is None:
            self._others.append(number)
        else:
            self._by_label[single].append(number)


_NONE: frozenset[int] = frozenset()
