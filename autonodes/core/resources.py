"""Arithmetic on resources: mappings of name to integer, where a missing name is 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Resources = Mapping[str, int]

NODES = "nodes"
"""Among a pool's limits, the nodes themselves."""


def add(*terms: Resources) -> dict[str, int]:
    """The sum, name by name."""
    total: dict[str, int] = {}
    for term in terms:
        for name, amount in term.items():
            total[name] = total.get(name, 0) + amount
    return total


def subtract(total: Resources, part: Resources) -> dict[str, int]:
    """What is left of ``total``, with its names only; it may be negative."""
    return {name: amount - part.get(name, 0) for name, amount in total.items()}


def greatest(terms: Iterable[Resources]) -> dict[str, int]:
    """The maximum, name by name."""
    result: dict[str, int] = {}
    for term in terms:
        for name, amount in term.items():
            if amount > result.get(name, 0):
                result[name] = amount
    return result


def least(terms: Iterable[Resources]) -> dict[str, int]:
    """The minimum, name by name, of the names that all of them have."""
    listed = list(terms)
    if not listed:
        return {}
    names = set(listed[0]).intersection(*listed[1:])
    return {name: min(term[name] for term in listed) for name in sorted(names)}


def fits(request: Resources, room: Resources) -> bool:
    """Whether there is room for the request; a request of 0 fits even where the resource is overdrawn."""
    return all(amount <= room.get(name, 0) for name, amount in request.items() if amount > 0)


def times(request: Resources, count: int) -> dict[str, int]:
    """``count`` times the request."""
    return {name: amount * count for name, amount in request.items()}


def capacity_for(request: Resources, room: Resources) -> int | None:
    """How many equal requests there is room for; None if the request is for nothing, so that any number fits."""
    counts = [room.get(name, 0) // amount for name, amount in request.items() if amount > 0]
    return max(0, min(counts)) if counts else None
