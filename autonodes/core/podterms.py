"""What a pod says about other pods: spread among them, near them, away from them.

A term names pods by a selector and an area by a node label (its ``key``): all nodes with the same value there are one
*domain*, so with ``kubernetes.io/hostname`` each node is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autonodes.core.requirements import Requirements


@dataclass(frozen=True, slots=True)
class PodSelector:
    """Pods by namespace and labels.

    :param labels: None selects no pod, an empty one every pod
    :param namespaces: by name
    :param namespace_labels: beside those, all namespaces that carry such labels; None for no others
    """

    labels: Requirements | None
    namespaces: frozenset[str]
    namespace_labels: Requirements | None = None

    def selects(self, namespace: str, labels: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """:param namespaces: the labels of each namespace"""
        if self.labels is None or not self.labels.satisfied_by(labels):
            return False
        if namespace in self.namespaces:
            return True
        others = self.namespace_labels
        return others is not None and others.satisfied_by(namespaces.get(namespace, {}))


@dataclass(frozen=True, slots=True)
class AllOf:
    """Pods that each of several selectors selects."""

    selectors: tuple[PodSelector, ...]

    @property
    def labels(self) -> Requirements | None:
        listed = [each.labels for each in self.selectors if each.labels is not None]
        return Requirements().intersection(*listed) if len(listed) == len(self.selectors) else None

    def selects(self, namespace: str, labels: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        return all(each.selects(namespace, labels, namespaces) for each in self.selectors)


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Pod affinity or anti-affinity: in one domain with a pod that is selected, or in none with any."""

    key: str
    selector: PodSelector


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint: no domain has more than ``max_skew`` of the selected pods above the domain with the
    fewest.

    :param min_domains: with fewer domains than that the fewest count as 0
    :param hard: ``DoNotSchedule``; else ``ScheduleAnyway``
    :param honor_affinity: ``nodeAffinityPolicy: Honor``: only nodes that the pod's own affinity allows count
    :param honor_taints: ``nodeTaintsPolicy: Honor``: only nodes whose taints it tolerates count
    """

    key: str
    selector: PodSelector
    max_skew: int = 1
    min_domains: int = 1
    hard: bool = True
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a pod would like, each with its weight (1 to 100); nothing of it keeps the pod from running.

    :param nodes: preferred node affinity
    """

    nodes: tuple[tuple[int, Requirements], ...] = ()
    near: tuple[tuple[int, PodTerm], ...] = ()
    apart: tuple[tuple[int, PodTerm], ...] = ()
