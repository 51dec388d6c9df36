"""What components say when they fail, in their own words, and what users are told to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from autonodes.cli.diagnosis import diagnose


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            'run.go:72] "command failed" err="failed to create listener: failed to listen on 0.0.0.0:1: '
            'listen tcp 0.0.0.0:1: bind: address already in use"',
            "port 1 is taken",
        ),
        ("ERROR can't listen on 0.0.0.0:8132: Failed to bind", "port 8132 is taken"),
        ('level=fatal msg="building kine: database or disk is full"', "the disk is full"),
        ("write /var/log/x: no space left on device", "the disk is full"),
        ("file is not a database", "the database is damaged"),
        ("fork/exec /opt/kine: exec format error", "another kind of machine"),
        ("accept4: too many open files", "limit of open files"),
        ("x509: certificate has expired or is not yet valid", "this machine's clock"),
    ],
)
def test_a_known_failure_has_its_remedy(tmp_path: Path, line: str, remedy: str) -> None:
    fault = diagnose("kine", "does not stay up (exit code 1, 3 times)", ["before", line], log=tmp_path / "kine.log")
    assert remedy in fault.remedy
    assert fault.problem.startswith("kine does not stay up (exit code 1, 3 times)")
    assert line in fault.problem


def test_an_unknown_failure_leads_to_the_log(tmp_path: Path) -> None:
    fault = diagnose("kine", "is not ready in time", [], log=tmp_path / "kine.log")
    assert fault.remedy == f"see {tmp_path / 'kine.log'}"
