"""What a machine carries from its birth on, so that it is known whose it is: EC2 tags.

``autonodes:cluster``, ``:nodepool``, ``:nodeclass``, ``:nodeclass-hash``, ``:batch``, ``:sizing`` and
``:capacity-type`` are the same for all machines of an order, and so are ``:claims-00`` and following: the claims that
the order is for, UID and name. Which machine is which claim's is written on all of them, in one call, when their ids
are known: ``:machines-00`` and following. A machine reads that from its metadata service, for which the keys must do
without a slash. An order of one claim needs it not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from providers.aws.instancetypes import Sizing

PREFIX: Final = "autonodes:"
CLUSTER: Final = "autonodes:cluster"
NODE_POOL: Final = "autonodes:nodepool"
NODE_CLASS: Final = "autonodes:nodeclass"
NODE_CLASS_HASH: Final = "autonodes:nodeclass-hash"
BATCH: Final = "autonodes:batch"
SIZING: Final = "autonodes:sizing"
CAPACITY_TYPE: Final = "autonodes:capacity-type"
_CLAIMS: Final = "autonodes:claims-"
MACHINES: Final = "autonodes:machines-"

_LONGEST: Final = 256


def claims(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """UID and name of each, in order."""
    return _packed(_CLAIMS, (f"{uid}={name}" for uid, name in pairs))


def machines(ids: Sequence[str | None]) -> dict[str, str]:
    """Which machine the n-th claim has."""
    return _packed(MACHINES, (f"{id_}={index}" for index, id_ in enumerate(ids) if id_))


def claim_of(instance_id: str, tags: Mapping[str, str]) -> tuple[str, str] | None:
    """UID and name of the claim that the machine was bought for, if that is written on it."""
    known = [(uid, name) for uid, _, name in (each.partition("=") for each in _unpacked(_CLAIMS, tags))]
    if len(known) == 1:
        return known[0]
    for each in _unpacked(MACHINES, tags):
        id_, _, index = each.partition("=")
        if id_ == instance_id:
            return known[int(index)] if int(index) < len(known) else None
    return None


def text_of(sizing: Sizing) -> str:
    """As a tag's value."""
    return f"{sizing.root_volume} {sizing.max_pods or 0} {int(sizing.efa)}"


def sizing_of(text: str) -> Sizing:
    """From a tag's value; the default one where it is none."""
    try:
        root, pods, efa = map(int, text.split())
    except ValueError:
        return Sizing()
    return Sizing(root_volume=root, max_pods=pods or None, efa=bool(efa))


def _packed(prefix: str, words: Iterable[str]) -> dict[str, str]:
    values: list[str] = []
    for word in words:
        if values and len(values[-1]) + 1 + len(word) <= _LONGEST:
            values[-1] += f" {word}"
        else:
            values.append(word)
    return {f"{prefix}{number:02}": value for number, value in enumerate(values)}


def _unpacked(prefix: str, tags: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(tags):
        if key.startswith(prefix):
            yield from tags[key].split()
