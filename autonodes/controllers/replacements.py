"""What is written on claims that replace others, so that it outlives the process that wrote them.

Each replacement carries the whole command: its id, why, how many replacements it has, and the claims that go when all
of them are initialized. So a successor sees from the claims alone whether a command is complete (go on) or not (roll
back).
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autonodes.api.nodeclaim import INITIALIZED, NodeClaim
from autonodes.controllers.claims import created_at, deleted_at
from autonodes.core.labels import REPLACES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """A command whose replacements have been written.

    :param count: how many replacements it has
    :param goes: name → UID of the claims that go
    :param replacements: those that are there, and not on their way out
    """

    id: str
    reason: str
    count: int
    goes: Mapping[str, str]
    replacements: tuple[NodeClaim, ...]

    @property
    def is_complete(self) -> bool:
        return len(self.replacements) >= self.count

    @property
    def is_ready(self) -> bool:
        return self.is_complete and all(each.condition(INITIALIZED) for each in self.replacements)

    @property
    def since(self) -> float:
        """When its first replacement was written, in seconds since the epoch."""
        return min(map(created_at, self.replacements))


def annotation(*, id: str, reason: str, count: int, goes: Mapping[str, str]) -> dict[str, str]:
    """For each replacement of a command; the parameters are `Underway`'s."""
    text = json.dumps({"id": id, "reason": reason, "count": count, "goes": goes}, separators=(",", ":"))
    return {REPLACES: text}


def underway(claims: Iterable[NodeClaim]) -> list[Underway]:
    """The commands that claims tell of, by their ids. What can't be read replaces nothing."""
    told: dict[str, list[NodeClaim]] = defaultdict(list)
    for claim in claims:
        if (text := claim.metadata.annotations.get(REPLACES)) and deleted_at(claim) is None:
            told[text].append(claim)
    found = (_read(text, tuple(sorted(those, key=lambda each: each.name))) for text, those in sorted(told.items()))
    return [each for each in found if each is not None]


def _read(text: str, replacements: tuple[NodeClaim, ...]) -> Underway | None:
    try:
        told = json.loads(text)
        goes = {str(name): str(uid) for name, uid in told["goes"].items()}
        return Underway(
            id=str(told["id"]),
            reason=str(told["reason"]),
            count=int(told["count"]),
            goes=goes,
            replacements=replacements,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("NodeClaim %s: annotation %s can't be read", replacements[0].name, REPLACES)
        return None
