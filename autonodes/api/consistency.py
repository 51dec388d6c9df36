"""What a schema can't see in a NodePool: names that no node may carry, contradictions, limits that are no amounts.

The API server has accepted the object by then, so the outcome goes into its ``ValidationSucceeded`` condition. Checked
are the rules that Karpenter checks at run time, and that the requirements leave anything to buy at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from autonodes.api.nodepool import NodePool
from autonodes.api.objects import QUALIFIED_NAME
from autonodes.api.scheduling import PoolRequirement, to_requirements
from autonodes.core import labels
from autonodes.core.errors import ConfigError
from autonodes.core.quantities import parse_resource

_QUALIFIED: Final = re.compile(QUALIFIED_NAME.removeprefix("^").removesuffix("$"))
_LONGEST_NAME: Final = 63
_LONGEST_DOMAIN: Final = 253
_SPEC: Final = "spec.template.spec"

KNOWN_VALUES: Final = {
    labels.CAPACITY_TYPE: (labels.CAPACITY_SPOT, labels.CAPACITY_ON_DEMAND, labels.CAPACITY_RESERVED)
}
"""Labels that have no other values than these, whatever the provider."""


def check_node_pool(pool: NodePool) -> list[ConfigError]:
    """Everything that is wrong with it; empty if it can be used."""
    checks = (_label_names, _taints, _requirement_names, _known_values, _contradictions, _limits)
    return [error for check in checks for error in check(pool)]


def _label_names(pool: NodePool) -> Iterator[ConfigError]:
    for key in pool.spec.template.metadata.labels:
        yield from _name(key, f"spec.template.metadata.labels[{key}]")


def _name(key: str, path: str) -> Iterator[ConfigError]:
    domain, _, name = key.rpartition("/")
    if not _QUALIFIED.fullmatch(key):
        yield ConfigError(path, key, "write letters, digits, '-', '_' and '.', perhaps after a DNS name and '/'")
        return
    if len(name) > _LONGEST_NAME:
        yield ConfigError(path, key, f"a name has at most {_LONGEST_NAME} characters (after the '/', if there is one)")
    if len(domain) > _LONGEST_DOMAIN:
        yield ConfigError(path, key, f"a domain has at most {_LONGEST_DOMAIN} characters")


def _taints(pool: NodePool) -> Iterator[ConfigError]:
    seen: dict[tuple[str, str], str] = {}
    for field, taints in (
        ("taints", pool.spec.template.spec.taints),
        ("startupTaints", pool.spec.template.spec.startup_taints),
    ):
        for index, taint in enumerate(taints):
            path = f"{_SPEC}.{field}[{index}]"
            yield from _name(taint.key, f"{path}.key")
            if (taint.key, taint.effect) in seen:
                first = seen[taint.key, taint.effect]
                yield ConfigError(path, f"{taint.key}:{taint.effect}", f"the same key and effect stand at {first}")
            seen.setdefault((taint.key, taint.effect), path)


def _requirement_names(pool: NodePool) -> Iterator[ConfigError]:
    for path, item in _requirements(pool):
        yield from _name(item.key, f"{path}.key")


def _known_values(pool: NodePool) -> Iterator[ConfigError]:
    for path, item in _requirements(pool):
        known = KNOWN_VALUES.get(item.key, ())
        if not known or item.operator != "In":
            continue
        usable = {value for value in item.values if value in known}
        if len(usable) < max(1, item.min_values or 1):
            remedy = f"of these values only {len(usable)} exist; write some of {', '.join(known)}"
            yield ConfigError(f"{path}.values", list(item.values), remedy)


def _contradictions(pool: NodePool) -> Iterator[ConfigError]:
    try:
        together = to_requirements(
            pool.spec.template.spec.requirements, fixed=pool.node_labels, path=f"{_SPEC}.requirements"
        )
    except ConfigError as error:
        yield error
        return
    for key, requirement in together.items():
        lines = [str(_line(item)) for _, item in _requirements(pool) if _same(item.key, key)]
        path = _last(pool, key)
        if requirement.empty:
            remedy = "no value satisfies all that is said about this label: " + "; ".join(lines + _fixed(pool, key))
            yield ConfigError(path, key, remedy)
        elif requirement.min_values and not requirement.complement and len(requirement.values) < requirement.min_values:
            remedy = f"minValues is {requirement.min_values}, but only {len(requirement.values)} values are left"
            yield ConfigError(path, key, remedy)


def _last(pool: NodePool, key: str) -> str:
    paths = [path for path, item in _requirements(pool) if _same(item.key, key)]
    return paths[-1] if paths else f"spec.template.metadata.labels[{key}]"


def _fixed(pool: NodePool, key: str) -> list[str]:
    return [f"label {name}={value}" for name, value in pool.node_labels.items() if _same(name, key)]


def _line(item: PoolRequirement) -> str:
    return f"{item.operator} [{', '.join(item.values)}]" if item.values else item.operator


def _same(one: str, other: str) -> bool:
    return labels.NORMALIZED.get(one, one) == other


def _limits(pool: NodePool) -> Iterator[ConfigError]:
    for name, amount in pool.spec.limits.items():
        try:
            parse_resource(name, amount, path=f"spec.limits.{name}", capacity=True)
        except ConfigError as error:
            yield error


def _requirements(pool: NodePool) -> Iterable[tuple[str, PoolRequirement]]:
    for index, item in enumerate(pool.spec.template.spec.requirements):
        yield f"{_SPEC}.requirements[{index}]", item
