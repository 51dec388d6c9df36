"""Progress for people: bars and spinners on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

from autonodes.components.reporting import Meter, Progress

_PLAIN_INTERVAL_S = 60.0  # a log that grows by one line a minute shows that a long build is alive
_MIB = 1024 * 1024


def open_progress(console: Console) -> AbstractContextManager[Progress]:
    """Bars when ``console`` is a terminal, lines when it is not; open for as long as the context lasts."""
    return TerminalProgress(console) if console.is_terminal else LineProgress(console)


class LineProgress:
    """One line when a piece of work starts, one when it ends, one a minute between."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""

    def note(self, text: str) -> None:
        """See :class:`Progress`."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def download(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        self.note(f"downloading {what}")
        line = _Line(self, what)
        yield line
        self.note(f"downloaded {what} ({line.received / _MIB:.1f} MiB)")

    @contextmanager
    def build(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        self.note(f"building {what}")
        line = _Line(self, what)
        yield line
        self.note(f"built {what} in {line.elapsed_s:.0f} s")


class _Line:
    def __init__(self, progress: LineProgress, what: str) -> None:
        self._progress, self._what = progress, what
        self.received = 0
        self.elapsed_s = 0.0
        self._next_s = _PLAIN_INTERVAL_S

    def expect(self, total_bytes: int) -> None:
        """The end is told, not the way."""

    def advance(self, count: int) -> None:
        self.received += count

    def tick(self, elapsed_s: float) -> None:
        self.elapsed_s = elapsed_s
        if elapsed_s >= self._next_s:
            self._next_s += _PLAIN_INTERVAL_S
            self._progress.note(f"still building {self._what} ({elapsed_s:.0f} s)")


class TerminalProgress:
    """A bar per download and a spinner with the elapsed time per build."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
        )
        self._spinners = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "TerminalProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._spinners.stop()

    def note(self, text: str) -> None:
        """See :class:`Progress`."""
        self._console.print(text, markup=False, highlight=False)

    @contextmanager
    def download(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        with self._shown(self._bars, what) as task:
            yield _Bar(self._bars, task)

    @contextmanager
    def build(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        with self._shown(self._spinners, f"building {what}") as task:
            bar = _Bar(self._spinners, task)
            yield bar
        self.note(f"built {what} in {bar.elapsed_s:.0f} s")

    @contextmanager
    def _shown(self, display: RichProgress, what: str) -> Iterator[TaskID]:
        """A terminal holds one live display at a time, so it runs only while it has something to show."""
        task = display.add_task(what, total=None)
        display.start()
        try:
            yield task
        finally:
            display.remove_task(task)
            if not display.tasks:
                display.stop()


class _Bar:
    def __init__(self, display: RichProgress, task: TaskID) -> None:
        self._display, self._task = display, task
        self.elapsed_s = 0.0

    def expect(self, total_bytes: int) -> None:
        self._display.update(self._task, total=total_bytes)

    def advance(self, count: int) -> None:
        self._display.advance(self._task, count)

    def tick(self, elapsed_s: float) -> None:
        self.elapsed_s = elapsed_s
