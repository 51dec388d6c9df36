"""World after world, and what came of it: the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from autonodes.verify.arena import play, schedule
from autonodes.verify.invariants import Violation
from autonodes.verify.shrinking import shrunk
from autonodes.verify.world import Arena, Outcome

FAULTS: Final = 90
"""Drawn for each world; more than half of them meet something that they can hit."""

SEEDS: Final = {"quick": 12, "full": 200}
"""Worlds of a profile."""

SHRINKING: Final = 24
"""Worlds that are played at most to find out which faults a violation needs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A seed under which something did not hold.

    :param needed: which of the seed's faults, by their number in its schedule, are enough for it
    """

    seed: int
    violations: tuple[Violation, ...]
    needed: tuple[int, ...]
    history: tuple[str, ...]

    @property
    def command(self) -> str:
        """What repeats it."""
        only = ",".join(map(str, self.needed)) or "none"
        return f"autonodes verify --seeds 1 --first-seed {self.seed} --only {only}"


@dataclass(slots=True)
class Report:
    """:param seconds: of real time; ``virtual`` is what the worlds lived"""

    seeds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    virtual: float = 0.0

    @property
    def violations(self) -> int:
        return sum(len(finding.violations) for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "faults": self.faults.total(),
            "invariants_checked": self.checked,
            "violations": self.violations,
            "seconds": round(self.seconds, 1),
            "virtual_seconds": round(self.virtual),
            "faults_by_kind": dict(sorted(self.faults.items())),
            "failed_seeds": [finding.seed for finding in self.findings],
        }


async def campaign(
    arena: Arena,
    seeds: Iterable[int],
    *,
    only: Sequence[int] | None = None,
    shrinks: int = SHRINKING,
    told: Callable[[int, Outcome], None] = lambda *_: None,
) -> Report:
    """Play a world for each seed.

    :param only: numbers of the faults in each schedule that happen; None for all
    :param shrinks: worlds that may be played to shrink a finding; 0 leaves it as it is
    :param told: called after each world
    """
    report, began = Report(), time.monotonic()
    for seed in seeds:
        drawn = schedule(seed, count=FAULTS)
        numbers = range(len(drawn)) if only is None else only
        outcome = await play(arena, seed, [drawn[number] for number in numbers])
        report.seeds += 1
        report.faults += outcome.met
        report.checked += outcome.checked
        report.virtual += outcome.seconds
        told(seed, outcome)
        if outcome.violations:
            report.findings.append(await _finding(arena, seed, numbers, outcome, shrinks))
        report.seconds = time.monotonic() - began
    return report


async def _finding(arena: Arena, seed: int, numbers: Sequence[int], outcome: Outcome, tries: int) -> Finding:
    drawn = schedule(seed, count=FAULTS)
    rules = {violation.rule for violation in outcome.violations}
    worst = outcome

    async def fails(some: Sequence[int]) -> bool:
        nonlocal worst
        found = await play(arena, seed, [drawn[number] for number in some])
        if rules.isdisjoint(violation.rule for violation in found.violations):
            return False
        worst = found
        return True

    needed = await shrunk(tuple(numbers), fails, tries=tries) if tries else tuple(numbers)
    return Finding(seed, worst.violations, needed, worst.history)
