from __future__ import annotations

from pathlib import Path

from providers.local.programs import collect


def test_machines_keep_the_programs_that_they_were_started_with(tmp_path: Path) -> None:
    source = tmp_path / "runc"
    source.write_text("old")
    first = collect({"runc": str(source)}, tmp_path / "programs")
    assert collect({"runc": str(source)}, tmp_path / "programs") == first
    aside = tmp_path / "aside"
    aside.write_text("new")
    aside.rename(source)
    second = collect({"runc": str(source)}, tmp_path / "programs")
    assert (first / "runc").read_text() == "old"
    assert (second / "runc").read_text() == "new"


def test_what_was_half_collected_is_collected_anew(tmp_path: Path) -> None:
    source = tmp_path / "runc"
    source.write_text("whole")
    done = collect({"runc": str(source)}, tmp_path / "programs")
    done.rename(done.with_name(f".{done.name}.new"))
    (done.with_name(f".{done.name}.new") / "rubbish").touch()
    assert sorted(path.name for path in collect({"runc": str(source)}, tmp_path / "programs").iterdir()) == ["runc"]
