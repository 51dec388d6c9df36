"""Binaries in directories that the user named: the first source, and one that is never written to.

Directories are searched in order, per binary, so that one self-built kubelet can stand in for the cache's. A binary
that says it is of another version than pinned is refused: a cluster of mixed versions fails later, and with a worse
message. One that says nothing is taken, and that is told.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autonodes.components.errors import RefusedBinary
from autonodes.components.pins import Pin
from autonodes.components.probe import ProbeFailed, is_version, versions_said


@dataclass(frozen=True, slots=True)
class GivenBinary:
    """A binary that may be used.

    :param confirmed: it said that it is of the pinned version
    """

    path: Path
    confirmed: bool


def given_directories(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """``AUTONODES_COMPONENTS``: directories, separated by colons."""
    return tuple(Path(part) for part in environment.get("AUTONODES_COMPONENTS", "").split(":") if part)


def find_given(wanted: Mapping[Pin, Iterable[str]], directories: Sequence[Path]) -> dict[tuple[Pin, str], GivenBinary]:
    """Those of the ``wanted`` binaries that are in ``directories``.

    :raises RefusedBinary: a directory does not exist, or a binary is not what is pinned
    """
    for directory in directories:
        if not directory.is_dir():
            raise RefusedBinary(f"{directory} is not a directory", "give one that holds the components' binaries")
    found = {
        (pin, binary): path.absolute()
        for pin, binaries in wanted.items()
        for binary in binaries
        if (path := _first(binary, directories)) is not None
    }
    with ThreadPoolExecutor(max_workers=4) as pool:  # each starts a process, some of 100 MB
        return dict(zip(found, pool.map(_inspect, found.values(), (pin for pin, _ in found)), strict=True))


def _first(binary: str, directories: Sequence[Path]) -> Path | None:
    return next((d / binary for d in directories if (d / binary).is_file()), None)


def _inspect(path: Path, pin: Pin) -> GivenBinary:
    if not os.access(path, os.X_OK):
        raise RefusedBinary(f"{path} is not executable", f"chmod +x {path}, or remove it")
    try:
        said = versions_said(path, pin)
    except ProbeFailed as error:
        raise RefusedBinary(f"{path} {error}", "give one that was made for this machine, or remove it") from error
    if said and not any(is_version(version, pin.version) for version in said):
        raise RefusedBinary(
            f"{path} is version {said[0]}, and {pin.version} is pinned",
            f"give {pin} instead, or remove it from that directory",
        )
    return GivenBinary(path, confirmed=bool(said))
