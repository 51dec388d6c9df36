"""The real controllers hold what they promise, whatever goes wrong; and what they don't hold is told so it helps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autonodes.controllers.termination import Termination
from autonodes.verify.arena import arena, run_virtually
from autonodes.verify.campaign import Report, campaign
from autonodes.verify.invariants import LAST

COMMAND = Path(sys.executable).parent / "autonodes"

pytestmark = pytest.mark.integration


def test_everything_holds_under_the_first_seeds(kubeconfig: Path) -> None:
    report = run_virtually(_campaign(kubeconfig, range(4)))
    assert not report.findings, "\n".join(report.findings[0].history)
    assert report.seeds == 4
    assert report.faults.total() >= 150
    assert report.checked >= 200


def test_a_finding_names_the_few_faults_it_needs_and_the_command_that_repeats_it(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> bool:
        return True

    monkeypatch.setattr(Termination, "_delete_machines", nothing)
    report = run_virtually(_campaign(kubeconfig, [0], shrinks=1))
    (finding,) = report.findings
    assert LAST in {violation.rule for violation in finding.violations}
    assert finding.needed == ()  # it goes wrong without any fault
    assert finding.command == "autonodes verify --seeds 1 --first-seed 0 --only none"


async def _campaign(kubeconfig: Path, seeds: range | list[int], *, shrinks: int = 0) -> Report:
    async with arena(kubeconfig) as where:
        return await campaign(where, seeds, shrinks=shrinks)


def test_the_command_ends_with_one_object() -> None:
    done = subprocess.run(
        [COMMAND, "verify", "--seeds", "1", "--only", "0,1,2", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seeds"] == 1
    assert told["violations"] == 0
    assert told["invariants_checked"] > 0
    assert {"faults", "seconds"} <= told.keys()


def test_a_number_that_is_none_is_refused() -> None:
    done = subprocess.run([COMMAND, "verify", "--only", "three"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--only" in done.stderr
