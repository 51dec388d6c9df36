"""What goes wrong with components; all of it is an EnvironmentFault.

EnvironmentFault
├── ComponentsMissing      none of the sources had a component: says what was tried and why each failed
├── RefusedBinary          a binary that the user gave is of another version, or does not run
├── CacheFault             the cache can't be written: read-only, no permission, disk full
├── DownloadFailed         one release could not be fetched or is not what its publisher published
└── BuildFailed            one Go module could not be built

The last two name one attempt; :class:`ComponentsMissing` collects them.
"""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from autonodes.components.pins import Pin
from autonodes.core.errors import EnvironmentFault

_MEND = (
    "connect this machine to the internet, or name a mirror of the releases (--mirror, AUTONODES_MIRROR), or give "
    "directories with the binaries (--components, AUTONODES_COMPONENTS), or run from a source checkout, which "
    "builds them"
)


class DownloadFailed(EnvironmentFault):
    """A release that could not be had."""


class BuildFailed(EnvironmentFault):
    """A Go module that could not be built."""


class RefusedBinary(EnvironmentFault):
    """A binary in a directory that the user gave, which is not the pinned one."""


class CacheFault(EnvironmentFault):
    """The cache can't be used."""

    @classmethod
    def of(cls, error: OSError, directory: Path) -> "CacheFault":
        """What ``error`` means for someone who wants to write to ``directory``."""
        if error.errno == errno.ENOSPC:
            return cls(f"disk full at {directory}", "free some 3 GB, or set AUTONODES_CACHE to another disk")
        return cls(
            f"the cache {directory} can't be written ({error.strerror or error})",
            "set AUTONODES_CACHE to a directory of yours",
        )


class ComponentsMissing(EnvironmentFault):
    """Components that no source had.

    :param attempts: per component the sources in the order of trying, each with the reason why it failed
    """

    def __init__(self, attempts: Mapping[Pin, Sequence[tuple[str, str]]]) -> None:
        self.attempts = attempts
        names = ", ".join(str(pin) for pin in attempts)
        super().__init__(f"components that could not be had: {names}", _MEND)

    def __str__(self) -> str:
        lines = [self.problem]
        for pin, tried in self.attempts.items():
            lines.append(f"  {pin}")
            lines += [f"    {source:<9} {_indented(reason)}" for source, reason in tried]
        return "\n".join([*lines, f"To mend it, {self.remedy}."])


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 14)
