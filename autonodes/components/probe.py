"""Which version a binary says it is.

A binary is asked by running it with the arguments of its pin (``--version`` for most). What it prints is compared
with the pin as text, so an answer without any version is *unknown* and not wrong.
"""

import os
import re
import subprocess
from pathlib import Path

from autonodes.components.pins import Pin

_TIMEOUT_S = 10.0
_VERSION = re.compile(r"(?<![\w.])v?(\d+(?:\.\d+){2,}(?:[-+][\w.+-]*)?)")


class ProbeFailed(Exception):
    """The binary could not be run."""


def versions_said(path: Path, pin: Pin) -> tuple[str, ...]:
    """Every version in what the binary prints about itself, without a leading ``v``.

    :raises ProbeFailed: it does not start or does not end
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
    try:
        answer = subprocess.run(
            [str(path), *pin.probe(path.name)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeFailed(f"did not print its version within {_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise ProbeFailed(f"can't be run ({error.strerror or error})") from error
    return tuple(_VERSION.findall((answer.stdout + b"\n" + answer.stderr).decode(errors="replace")))


def is_version(said: str, pinned: str) -> bool:
    """Whether they are the same release; build metadata (``+…``) makes no difference (Semantic Versioning, 10)."""
    return said.partition("+")[0] == pinned
