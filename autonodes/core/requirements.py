"""Requirements on labels: one :class:`Requirement` a key, in one immutable mapping.

A pool's template, an instance type, a node's labels, a pod's selector and affinity term, a NodeClaim: all are
`Requirements`, and whether a pod may go somewhere is `Requirements.compatible` of the place with the pod.

Keys that are not mentioned are of two kinds, as in Karpenter: a *well-known* label (zone, instance type, …) that a pool
leaves undefined will be whatever the provider has, so a pod may ask for any value; a *custom* label that is undefined
will not be on the node, so only a pod that does without it (NotIn, DoesNotExist) goes there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from autonodes.core.errors import ConfigError
from autonodes.core.labels import NORMALIZED, WELL_KNOWN
from autonodes.core.requirement import OPERATORS, Requirement

__all__ = ["OPERATORS", "Conflict", "Requirement", "Requirements"]


@dataclass(frozen=True)
class Conflict:
    """The first key on which two sets of requirements can't agree; the text is made only when it is read.

    :param existing: what the place offers at that key, None if it does not define the label
    :param incoming: what is asked of it
    :param defined: the keys that the place defines, for a hint at a typo
    """

    key: str
    existing: Requirement | None
    incoming: Requirement
    defined: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.incoming.empty:
            return f"incompatible requirements, key {self.key}, no value can satisfy what is asked (a contradiction)"
        if self.existing is None:
            return f'incompatible requirements, label "{self.key}" does not have known values{self._hint()}'
        return f"incompatible requirements, key {self.key}, {self.incoming} not in {self.existing}"

    def _hint(self) -> str:
        suffix = self.key.rpartition("/")[2]
        for known in (*sorted(WELL_KNOWN), *self.defined):
            if self.key in known or known.endswith(suffix):
                return f' (typo of "{known}"?)'
        return ""


class Requirements(Mapping[str, Requirement]):
    """Immutable, hashable; iterates in the order of the keys. A key that allows everything is left out, so equal
    requirements are equal values."""

    __slots__ = ("__dict__", "_items")

    def __init__(self, requirements: Iterable[Requirement] = ()) -> None:
        """Requirements of the same key are intersected."""
        merged: dict[str, Requirement] = {}
        for requirement in requirements:
            present = merged.get(requirement.key)
            merged[requirement.key] = requirement if present is None else present.intersection(requirement)
        self._items = {
            key: merged[key]
            for key in sorted(merged)
            if not merged[key].universal or merged[key].min_values is not None
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Requirements:
        """Exactly these values. A deprecated key counts only where its successor is missing."""
        present = {NORMALIZED[key]: labels[key] for key in NORMALIZED.keys() & labels.keys()}
        present |= {key: value for key, value in labels.items() if key not in NORMALIZED}
        made = cls()
        made._items = {key: _exactly(key, present[key]) for key in sorted(present)}
        return made

    @classmethod
    def from_list(cls, lines: Iterable[Mapping[str, Any]], *, path: str = "requirements") -> Requirements:
        """From ``requirements`` or ``matchExpressions`` as they stand in JSON: ``key``, ``operator``, ``values``,
        ``minValues``.

        :raises ConfigError: a line that can't be; its path is ``path[index]…``
        """
        return cls(
            Requirement.of(
                line["key"],
                line["operator"],
                line.get("values") or (),
                min_values=line.get("minValues"),
                path=f"{path}[{index}]",
            )
            for index, line in enumerate(lines)
        )

    def allowed(self, key: str) -> Requirement:
        """What is required at ``key``; :meth:`Requirement.anything` if nothing is."""
        return self._items.get(key) or Requirement.anything(key)

    def intersection(self, *others: Requirements) -> Requirements:
        """What all of them require together; it may be a contradiction."""
        if not any(others):
            return self
        return Requirements(requirement for each in (self, *others) for requirement in each._items.values())

    def __and__(self, other: Requirements) -> Requirements:
        return self.intersection(other)

    def conflict(self, incoming: Requirements, allow_undefined: Collection[str] = WELL_KNOWN) -> Conflict | None:
        """The first key, in their order, by which these (a pool's, a node's) can't meet ``incoming`` (a pod's).

        :param allow_undefined: labels that may be undefined here; none for a node that exists
        """
        for key, asked in incoming._items.items():
            existing = self._items.get(key)
            if existing is None:
                if asked.empty or not (asked.absent or key in allow_undefined):
                    return Conflict(key, None, asked, tuple(self._items))
            elif not existing.overlaps(asked):
                return Conflict(key, existing, asked)
        return None

    def compatible(self, incoming: Requirements, allow_undefined: Collection[str] = WELL_KNOWN) -> bool:
        """Whether some node that meets these can also meet ``incoming``; see :meth:`conflict`."""
        return self.conflict(incoming, allow_undefined) is None

    def contradiction(self) -> Requirement | None:
        """The first requirement that nothing can satisfy."""
        return next((requirement for requirement in self._items.values() if requirement.empty), None)

    def subset_of(self, other: Requirements) -> bool:
        """Whether every node that meets these meets ``other``: the guarantee that a claim in flight gives to a pod."""
        return all(self.allowed(key).subset_of(asked) for key, asked in other._items.items())

    def satisfied_by(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with exactly these labels will do, as kube-scheduler would say.

        :param labels: with deprecated keys already replaced (see :meth:`from_labels`)
        """
        return all(requirement.has(labels.get(key)) for key, requirement in self._items.items())

    def only(self, keys: Collection[str]) -> Requirements:
        """Those at ``keys``."""
        return Requirements(requirement for key, requirement in self._items.items() if key in keys)

    def without(self, keys: Collection[str]) -> Requirements:
        """Those at other keys than ``keys``."""
        return Requirements(requirement for key, requirement in self._items.items() if key not in keys)

    def labels(self, *, but: Collection[str] = ()) -> dict[str, str]:
        """Labels that a node could carry to meet these: the only value, or else one that is allowed.

        Labels that must be missing are missing; those that may be missing are, too.

        :param but: keys to leave out, because the provider decides them
        """
        values = {
            key: requirement.any_value()
            for key, requirement in self._items.items()
            if key not in but and not requirement.absent
        }
        return {key: value for key, value in values.items() if value is not None}

    def to_list(self) -> list[dict[str, Any]]:
        """As a NodeClaim's ``requirements``, in the order of the keys; `from_list` reads it back."""
        return [line for requirement in self._items.values() for line in requirement.to_list()]

    def __getitem__(self, key: str) -> Requirement:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, Requirements) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(self._items.values()))

    def __str__(self) -> str:
        return "; ".join(map(str, self._items.values()))

    def __repr__(self) -> str:
        return f"Requirements({self})"


Expression = tuple[str, str, Sequence[str]]
"""One line of ``matchExpressions`` or ``matchFields``: key, operator, values."""


_REQUIRED_TERMS: Final = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"


def required_terms(
    node_selector: Mapping[str, str],
    terms: Sequence[tuple[Sequence[Expression], Sequence[Expression]]] | None = None,
    *,
    path: str = _REQUIRED_TERMS,
) -> tuple[Requirements, ...]:
    """A pod's ``required_terms``: each OR-ed term with the node selector folded in.

    ``matchFields`` knows only ``metadata.name``; it becomes a requirement at that key (`FIELD_NAME`), which a node
    that exists carries and no new node does. An empty term matches no node, so it is dropped.

    :param terms: each ``(matchExpressions, matchFields)``; None if the pod has no required node affinity
    :raises ConfigError: an expression that can't be, or no term that could match
    """
    selector = Requirements.from_labels(node_selector)
    if terms is None:
        return (selector,)
    folded = tuple(
        selector & _term(expressions, fields, f"{path}.nodeSelectorTerms[{index}]")
        for index, (expressions, fields) in enumerate(terms)
        if expressions or fields
    )
    if not folded:
        raise ConfigError(
            f"{path}.nodeSelectorTerms", list(terms), "an empty term matches no node: give it an expression"
        )
    return folded


FIELD_NAME = "metadata.name"
"""The key under which a node's name stands for ``matchFields``."""


def contradiction(
    node_selector: Mapping[str, str], terms: Sequence[tuple[Sequence[Expression], Sequence[Expression]]]
) -> ConfigError:
    """Why nothing can satisfy terms of which each contradicts itself or the node selector: of the first of them the
    line that leaves no value, and those that it contradicts."""
    index, (expressions, fields) = next((index, term) for index, term in enumerate(terms) if any(term))
    lines = [(f"spec.nodeSelector[{key}]", Requirement.of(key, "In", [value])) for key, value in node_selector.items()]
    lines += _lines(expressions, fields, f"{_REQUIRED_TERMS}.nodeSelectorTerms[{index}]")
    before: dict[str, Requirement] = {}
    for path, line in lines:
        before[path] = line
        alike = [f"{other} ({each})" for other, each in before.items() if each.key == line.key and other != path]
        if Requirements(before.values()).contradiction() is not None:
            break
    remedy = f"contradicts {', '.join(alike)}, so that no node will do: correct one of them"
    return ConfigError(path, str(line), remedy if alike else "there is no such number")


def _term(expressions: Sequence[Expression], fields: Sequence[Expression], path: str) -> Requirements:
    return Requirements(line for _, line in _lines(expressions, fields, path))


def _lines(
    expressions: Sequence[Expression], fields: Sequence[Expression], path: str
) -> Iterator[tuple[str, Requirement]]:
    """Each with its path."""
    for kind, listed in (("matchExpressions", expressions), ("matchFields", fields)):
        for index, (key, operator, values) in enumerate(listed):
            place = f"{path}.{kind}[{index}]"
            yield place, Requirement.of(key, operator, values, path=place)


@lru_cache(maxsize=1 << 14)
def _exactly(key: str, value: str) -> Requirement:
    """One object for equal ones: a thousand types share most of their labels."""
    return Requirement(key, False, frozenset((value,)))
