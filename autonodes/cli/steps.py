"""What `up` and `down` tell while they work: a line for each step, with its result and its seconds.

On a terminal the step that is under way is shown too. The line comes when the step is done, so a log has one a step.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import click


class Step:
    """:param said: what came of it, for its line"""

    def __init__(self) -> None:
        self.said = ""


class Steps:
    """On standard output."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        click.secho(f"==> {text}", bold=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One step; nothing is said of one that raised but that it was under way."""
        began = time.monotonic()
        if self._terminal:
            click.echo(f"    {name:<18} …", nl=False)
        step = Step()
        try:
            yield step
        except BaseException:
            if self._terminal:
                click.echo()
            raise
        erase = "\r\x1b[K" if self._terminal else ""
        click.echo(f"{erase}    {name:<18} {step.said:<56} {time.monotonic() - began:5.1f} s")

    def elapsed(self) -> float:
        """Seconds since the first word."""
        return time.monotonic() - self._began
