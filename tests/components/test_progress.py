"""People see what goes on, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from autonodes.components.progress import LineProgress, TerminalProgress, open_progress


def test_a_log_gets_a_line_at_the_start_and_at_the_end() -> None:
    out = io.StringIO()
    with open_progress(Console(file=out, width=20)) as progress:
        assert isinstance(progress, LineProgress)
        with progress.download("kine 0.17.5") as meter:
            meter.expect(3 * 1024 * 1024)
            meter.advance(3 * 1024 * 1024)
        with progress.build("a component with a long name [1.0]") as meter:
            meter.tick(1.5)
    assert out.getvalue().splitlines() == [
        "downloading kine 0.17.5",
        "downloaded kine 0.17.5 (3.0 MiB)",
        "building a component with a long name [1.0]",
        "built a component with a long name [1.0] in 2 s",
    ]


def test_a_log_shows_once_a_minute_that_a_build_goes_on() -> None:
    out = io.StringIO()
    with open_progress(Console(file=out)) as progress, progress.build("kubernetes") as meter:
        for second in range(125):
            meter.tick(second)
    assert [line for line in out.getvalue().splitlines() if "still" in line] == [
        "still building kubernetes (60 s)",
        "still building kubernetes (120 s)",
    ]


def test_a_failed_download_is_not_called_downloaded() -> None:
    out = io.StringIO()
    with open_progress(Console(file=out)) as progress, pytest.raises(OSError, match="gone"), progress.download("kine"):
        raise OSError("gone")
    assert out.getvalue() == "downloading kine\n"


def test_a_terminal_gets_bars_that_leave_when_the_work_is_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with open_progress(console) as progress:
        assert isinstance(progress, TerminalProgress)
        with progress.download("kine 0.17.5") as one, progress.download("runc 1.5.2") as two:
            one.expect(2_000_000)
            one.advance(1_000_000)
            two.advance(5)
            progress.note("while it goes on")
        with progress.build("kubernetes 1.37.2") as build:
            build.tick(99.0)
        progress.note("a note [in brackets]")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "kine 0.17.5" in shown
    assert "building kubernetes 1.37.2" in shown
    assert "built kubernetes 1.37.2 in 99 s" in shown
    assert "a note [in brackets]" in shown
