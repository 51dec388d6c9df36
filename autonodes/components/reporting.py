"""What the resolver tells while it works. :mod:`autonodes.components.progress` shows it to people."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Meter(Protocol):
    """One piece of work that is under way."""

    def expect(self, total_bytes: int) -> None:
        """How many bytes there will be, as soon as it is known."""

    def advance(self, count: int) -> None:
        """``count`` more bytes are here."""

    def tick(self, elapsed_s: float) -> None:
        """The work goes on, ``elapsed_s`` seconds after its start; called about once a second."""


class Progress(Protocol):
    """Hears of downloads and builds. Called from one thread."""

    def note(self, text: str) -> None:
        """Something that a person should know: one line."""

    def download(self, what: str) -> AbstractContextManager[Meter]:
        """A download of ``what``, for as long as the context lasts; several at once."""

    def build(self, what: str) -> AbstractContextManager[Meter]:
        """A build of ``what``, for as long as the context lasts."""


class Silent:
    """Says nothing."""

    def note(self, text: str) -> None:
        """See :class:`Progress`."""

    @contextmanager
    def download(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        yield _Quiet()

    @contextmanager
    def build(self, what: str) -> Iterator[Meter]:
        """See :class:`Progress`."""
        yield _Quiet()


class _Quiet:
    def expect(self, total_bytes: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def tick(self, elapsed_s: float) -> None: ...
