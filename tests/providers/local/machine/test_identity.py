from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from providers.local.machine import identity


def test_a_recorded_process_is_known_while_it_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "init.json")
    assert identity.recorded(path) is None
    with subprocess.Popen(["sleep", "100"]) as process:
        identity.record(path, process.pid)
        assert identity.recorded(path) == process.pid
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity.recorded(path) is None, "a zombie is dead"
    assert identity.recorded(path) is None


def test_a_process_with_the_number_of_a_dead_one_is_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "init.json"
    identity.record(str(path), os.getpid())
    known = json.loads(path.read_text())
    for change in ({"started": known["started"] - 1}, {"boot": "another"}):
        path.write_text(json.dumps({**known, **change}))
        assert identity.recorded(str(path)) is None


def test_the_mark_of_an_earlier_boot_counts_for_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "init.json")
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    identity.confirm(directory)
    os.close(directory)
    assert not identity.confirmed(path)
    with subprocess.Popen(["sleep", "100"]) as process:
        identity.record(path, process.pid)
        assert not identity.confirmed(path)
        process.kill()
    identity.record(path, os.getpid())
    assert identity.confirmed(path)
