"""From the JSON of a pod's affinity and spread constraints to `autonodes.core.podterms`.

Pods of a workload have the same text there, so what was made of a text once is used again. ``matchLabelKeys`` and
``mismatchLabelKeys`` are folded into the selector with the pod's own values, as newer API servers do themselves.
A selector that can't be read raises `ConfigError`, with the field's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from autonodes.core.errors import ConfigError
from autonodes.core.podterms import PodSelector, PodTerm, Preferences, Spread
from autonodes.core.requirements import Requirement, Requirements
from autonodes.kube import wire
from autonodes.kube.interning import Interner

_shared = Interner()
_encode = msgspec.json.Encoder().encode


class PodTerms(NamedTuple):
    """What a pod says about others, and about nodes that it would like."""

    spread: tuple[Spread, ...] = ()
    near: tuple[PodTerm, ...] = ()
    apart: tuple[PodTerm, ...] = ()
    preferences: Preferences | None = None


NO_TERMS: Final = PodTerms()


def pod_terms(spec: wire.PodSpec, namespace: str, labels: Mapping[str, str]) -> PodTerms:
    """:raises ConfigError: a selector or a number that can't be"""
    affinity, spread = spec.affinity, spec.topology_spread_constraints
    if affinity is None and not spread:
        return NO_TERMS
    text = _encode((affinity, spread))
    own = tuple(sorted(labels.items())) if b'abelKeys":[' in text else ()
    key = (text, namespace, own)
    return _shared.made(key, lambda: _read(affinity or wire.Affinity(), spread or (), namespace, labels))


def label_selector(selector: wire.LabelSelector, path: str) -> Requirements:
    """:raises ConfigError: an operator or values that can't be"""
    lines = [{"key": key, "operator": "In", "values": [value]} for key, value in (selector.match_labels or {}).items()]
    lines += [
        {"key": each.key, "operator": each.operator, "values": each.values or []}
        for each in selector.match_expressions or ()
    ]
    return Requirements.from_list(lines, path=path)


def _read(
    affinity: wire.Affinity,
    spread: Iterable[wire.TopologySpreadConstraint],
    namespace: str,
    labels: Mapping[str, str],
) -> PodTerms:
    near, apart = affinity.pod_affinity or wire.PodAffinity(), affinity.pod_anti_affinity or wire.PodAffinity()
    reader = _Reader(namespace, labels)
    preferences = Preferences(
        nodes=_preferred_nodes(affinity.node_affinity),
        near=reader.preferred(near, "spec.affinity.podAffinity"),
        apart=reader.preferred(apart, "spec.affinity.podAntiAffinity"),
    )
    return PodTerms(
        spread=tuple(
            reader.spread(each, f"spec.topologySpreadConstraints[{index}]") for index, each in enumerate(spread)
        ),
        near=reader.required(near, "spec.affinity.podAffinity"),
        apart=reader.required(apart, "spec.affinity.podAntiAffinity"),
        preferences=preferences if preferences != Preferences() else None,
    )


def _preferred_nodes(affinity: wire.NodeAffinity | None) -> tuple[tuple[int, Requirements], ...]:
    path = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    listed = enumerate(affinity.preferred or ()) if affinity else ()
    return tuple(
        (
            term.weight,
            Requirements(
                Requirement.of(each.key, each.operator, each.values or (), path=f"{path}[{index}].preference")
                for each in (*(term.preference.match_expressions or ()), *(term.preference.match_fields or ()))
            ),
        )
        for index, term in listed
    )


class _Reader:
    """Reads the terms of pods of one namespace with these labels."""

    def __init__(self, namespace: str, labels: Mapping[str, str]) -> None:
        self._namespace, self._labels = namespace, labels

    def spread(self, read: wire.TopologySpreadConstraint, path: str) -> Spread:
        if read.max_skew < 1:
            raise ConfigError(f"{path}.maxSkew", read.max_skew, "write a positive number")
        if not read.topology_key:
            raise ConfigError(f"{path}.topologyKey", read.topology_key, "write the node label that makes the domains")
        if read.when_unsatisfiable not in ("DoNotSchedule", "ScheduleAnyway"):
            raise ConfigError(
                f"{path}.whenUnsatisfiable", read.when_unsatisfiable, "use DoNotSchedule or ScheduleAnyway"
            )
        labels = self._selected(read.label_selector, read.match_label_keys, None, path)
        return Spread(
            key=read.topology_key,
            # kube-scheduler counts no pod for an empty selector (countPodsMatchSelector)
            selector=PodSelector(labels or None, frozenset((self._namespace,))),
            max_skew=read.max_skew,
            min_domains=read.min_domains or 1,
            hard=read.when_unsatisfiable == "DoNotSchedule",
            honor_affinity=read.node_affinity_policy != "Ignore",
            honor_taints=read.node_taints_policy == "Honor",
        )

    def required(self, read: wire.PodAffinity, path: str) -> tuple[PodTerm, ...]:
        path += ".requiredDuringSchedulingIgnoredDuringExecution"
        return tuple(self._term(term, f"{path}[{index}]") for index, term in enumerate(read.required or ()))

    def preferred(self, read: wire.PodAffinity, path: str) -> tuple[tuple[int, PodTerm], ...]:
        path += ".preferredDuringSchedulingIgnoredDuringExecution"
        return tuple(
            (term.weight, self._term(term.pod_affinity_term, f"{path}[{index}].podAffinityTerm"))
            for index, term in enumerate(read.preferred or ())
        )

    def _term(self, read: wire.PodAffinityTerm, path: str) -> PodTerm:
        if not read.topology_key:
            raise ConfigError(f"{path}.topologyKey", read.topology_key, "write the node label that makes the domains")
        others = read.namespace_selector
        named = frozenset(read.namespaces or (() if others is not None else (self._namespace,)))
        selector = PodSelector(
            self._selected(read.label_selector, read.match_label_keys, read.mismatch_label_keys, path),
            named,
            None if others is None else label_selector(others, f"{path}.namespaceSelector"),
        )
        return PodTerm(read.topology_key, selector)

    def _selected(
        self, read: wire.LabelSelector | None, match: list[str] | None, mismatch: list[str] | None, path: str
    ) -> Requirements | None:
        """No selector at all selects no pod."""
        if read is None:
            return None
        own = [
            Requirement.of(key, operator, [self._labels[key]])
            for keys, operator in ((match, "In"), (mismatch, "NotIn"))
            for key in keys or ()
            if key in self._labels
        ]
        return label_selector(read, f"{path}.labelSelector") & Requirements(own)
