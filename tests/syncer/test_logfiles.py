from __future__ import annotations

from pathlib import Path

from syncer import logfiles


def test_a_log_past_its_limit_is_set_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 101)
        logfiles.rotate(path, limit=100)
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 101


def test_a_log_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 100)
    logfiles.rotate(path, limit=100)
    assert path.stat().st_size == 100
    assert list(tmp_path.iterdir()) == [path]


def test_only_its_owner_reads_a_log(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 101)
    path.chmod(0o600)
    logfiles.rotate(path, limit=100)
    assert [file.stat().st_mode & 0o777 for file in sorted(tmp_path.iterdir())] == [0o600, 0o600]


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert logfiles.tail(path, lines=2) == []
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert logfiles.tail(path, lines=2) == ["line 998", "line 999"]
