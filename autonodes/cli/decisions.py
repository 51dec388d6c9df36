"""The decision log of a cluster as files: written by its controller, read by ``explain`` and ``replay``.

The file is held to a size: a full one becomes ``decisions.jsonl.1``, the one of that name ``.2``, and so on; the oldest
goes. A line that can't be written (the disk is full) is reported on standard error, and the controller goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from autonodes.core.errors import ConfigError

SIZE: Final = 16 << 20
"""Bytes that a file may have: some 50,000 decisions."""

OLDER: Final = 3
"""Full files that are kept."""

_DECISION: Final = '"decision":'


@dataclass(frozen=True, slots=True)
class Entry:
    """:param at: seconds since the epoch
    :param line: what follows from the snapshot, as `autonodes.core.narration.Decision.line` has it
    :param names: who it is about: pods, nodes, claims
    :param text: for people
    """

    at: float
    line: str
    names: frozenset[str]
    text: str


@contextlib.contextmanager
def writer(path: Path) -> Iterator[Callable[[str], None]]:
    """Takes lines, without their ends, as long as the block lasts."""
    handler = RotatingFileHandler(path, maxBytes=SIZE, backupCount=OLDER, encoding="utf-8")
    log = logging.Logger("decisions")
    log.addHandler(handler)
    with contextlib.closing(handler):
        yield log.info


def read(path: Path, *, about: frozenset[str] | None = None) -> Iterator[Entry]:
    """What is in the log, the oldest first; what a crash has cut off is passed over.

    :param about: names of pods (``namespace/name``), nodes and claims; None for everything
    """
    for file in reversed([path, *(path.with_name(f"{path.name}.{number}") for number in range(1, OLDER + 1))]):
        try:
            text = file.read_text(errors="replace")
        except FileNotFoundError:
            continue
        for line in text.splitlines():
            if about is not None and not any(name in line for name in about):
                continue
            entry = _entry(line)
            if entry is not None and (about is None or about & entry.names):
                yield entry


def lines(path: Path) -> frozenset[str]:
    """The decisions in a log, as a replay writes them.

    :raises ConfigError: there is no such file, or it is no decision log
    """
    if not path.exists():
        raise ConfigError("--against", str(path), "there is no such file")
    found = frozenset(entry.line for entry in read(path))
    if not found:
        raise ConfigError("--against", str(path), "there is no decision in it: give a cluster's decisions.jsonl")
    return found


def _entry(line: str) -> Entry | None:
    try:
        told = json.loads(line)
        claim = told.get("nodeClaim")
        return Entry(
            at=datetime.fromisoformat(told["at"]).timestamp(),
            line="{" + line[line.index(_DECISION) :],
            names=frozenset((*told["who"], *((claim,) if claim else ()))),
            text=_text(told, claim),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(told: Mapping[str, Any], claim: str | None) -> str:
    what = told["what"]
    named = [str(what[key]) for key in ("instanceType", "zone", "capacityType", "node", "code") if key in what]
    subject = " ".join([told["decision"], *([claim] if claim else []), *named])
    return f"{subject}: {told['why']}"
