"""The decision log as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from autonodes.cli import decisions, main
from autonodes.cli.decisions import read, writer
from autonodes.cli.looking import packed
from autonodes.controllers.decisionlog import DecisionLog
from autonodes.core.planner import plan
from autonodes.core.recording import Recording, encode
from clock import VirtualClock
from core.parts import machine, pod, snapshot

WAITING = snapshot([pod("a", cpu=1), pod("huge", cpu=100)], types=[machine("small", cpu=2, price=0.1)])


def decided(path: Path) -> None:
    """What a controller writes that sees `WAITING`."""
    made = plan(WAITING)
    with writer(path) as write:
        log = DecisionLog(write, VirtualClock())
        log.planned(WAITING, made)
        for decision in log.purchases(WAITING, made.purchases):
            log.buying(decision, "default-x7k2p")


def test_what_was_written_about_an_object_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    decided(path)
    (bought,) = read(path, about=frozenset({"default-x7k2p"}))
    assert bought.text.startswith("buy default-x7k2p small z1 on-demand: the only type that holds its 1 pod")
    assert bought.at == VirtualClock().now()
    assert [entry.text for entry in read(path, about=frozenset({"default/a"}))] == [bought.text]
    assert not list(read(path, about=frozenset({"default"})))


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "SIZE", 1000)
    path = tmp_path / "decisions.jsonl"
    with writer(path) as write:
        for number in range(100):
            write(f'{{"at":"2026-03-01T10:00:00Z","decision":"keep","who":["n{number}"],"what":{{}},"why":"w"}}')
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + decisions.OLDER
    assert sum(file.stat().st_size for file in files) <= 1000 * (1 + decisions.OLDER)
    names = [name for entry in read(path) for name in entry.names]
    assert names == [f"n{number}" for number in range(100 - len(names), 100)]


def test_a_line_that_a_crash_has_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    decided(path)
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[0][:40] + "\n" + "[]\n")
    assert len(list(read(path))) == len(whole.splitlines())


def command(*arguments: str) -> object:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    return exited.value.code


def test_a_replay_is_held_against_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, recording = tmp_path / "decisions.jsonl", tmp_path / "snapshot.json.gz"
    decided(path)
    recording.write_bytes(packed(encode(Recording(snapshot=WAITING))))
    assert command("replay", str(recording), "--against", str(path)) == 0
    assert capsys.readouterr().out == ""
    lines = path.read_text().splitlines()
    path.write_text("".join(line + "\n" for line in lines if "huge" not in line))
    assert command("replay", str(recording), "--against", str(path)) == 1
    assert capsys.readouterr().out.startswith('{"decision":"leave","who":["default/huge"]')


@pytest.mark.parametrize("content", [None, "", "no log\n"])
def test_what_is_no_decision_log_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path, recording = tmp_path / "other", tmp_path / "snapshot.json.gz"
    recording.write_bytes(packed(encode(Recording(snapshot=WAITING))))
    if content is not None:
        path.write_text(content)
    assert command("replay", str(recording), "--against", str(path)) == 2
    assert "--against" in capsys.readouterr().err
