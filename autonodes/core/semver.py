"""Semantic versions (https://semver.org), compared by precedence; build metadata does not count."""

from __future__ import annotations

import re
from functools import total_ordering

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)


@total_ordering
class Version:
    """:raises ValueError: not one"""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        if _SEMVER.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no semantic version, such as 1.2.3")
        self.text = text

    @property
    def numbers(self) -> tuple[int, int, int]:
        matched = _SEMVER.fullmatch(self.text)
        assert matched is not None  # noqa: S101 -- seen to when it was made
        return int(matched[1]), int(matched[2]), int(matched[3])

    @property
    def _precedence(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        matched = _SEMVER.fullmatch(self.text)
        before = matched[4] if matched else None
        parts = before.split(".") if before else ()
        ranked = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
        return self.numbers, before is None, ranked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._precedence == other._precedence

    def __lt__(self, other: Version) -> bool:
        return self._precedence < other._precedence

    def __hash__(self) -> int:
        return hash(self._precedence)

    def __repr__(self) -> str:
        return f"Version({self.text!r})"
