"""Durations in Go's notation (``90s``, ``1h30m``, ``720h``) and Karpenter's ``Never``.

The notation is that of Go's ``time.ParseDuration``: a sequence of decimal numbers, each with a unit; ``0`` alone needs
none. Days don't exist in it (a day is not always 24 h), so ``30d`` is refused with the hours to write instead.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from autonodes.core.errors import ConfigError

NEVER: Final = "Never"

_UNITS: Final = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_DAYS = re.compile(r"([0-9]+)d")


def parse_duration(text: str, *, path: str = "duration") -> float | None:
    """Seconds, or None for ``Never``.

    :raises ConfigError: not in Go's notation
    """
    if text == NEVER:
        return None
    if text in ("0", "+0", "-0"):
        return 0.0
    if not isinstance(text, str) or not _WHOLE.fullmatch(text):
        raise ConfigError(path, text, _remedy(text))
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Decimal(0))
    return float(-total if text.startswith("-") else total)


def format_duration(seconds: float | None) -> str:
    """As a person would write it: ``1h30m``, ``45s``, ``1.5s``, ``Never``; parses back to the same number."""
    if seconds is None:
        return NEVER
    if seconds < 0:
        return "-" + format_duration(-seconds)
    left = Decimal(str(seconds))
    parts = []
    for unit in ("h", "m"):
        whole, left = divmod(left, _UNITS[unit])
        if whole:
            parts.append(f"{int(whole)}{unit}")
    if left or not parts:
        parts.append(f"{left.normalize():f}s")
    return "".join(parts)


def _remedy(text: object) -> str:
    if isinstance(text, str) and (days := _DAYS.fullmatch(text)):
        return f"there are no days in this notation: write {int(days[1]) * 24}h"
    return 'write numbers with units, such as "30s", "10m" or "1h30m", or "Never"'
