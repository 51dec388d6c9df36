"""What a dead supervisor could have left running."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from syncer import status

_log = logging.getLogger(__name__)


def clear_leftovers(status_file: Path) -> None:
    """Kill what a dead supervisor's status names and what still lives, and wait until it is gone.

    The kernel has done that already, as a rule; a process that changed its user or its privileges escapes it.
    """
    previous = status.read(status_file)
    for process in previous.processes if previous else ():
        while process.identity and process.identity.alive():
            _log.warning("%s: left over, pid %d; killed", process.name, process.identity.pid)
            kill_group(process.identity.pid)
            time.sleep(0.02)


def kill_group(pid: int) -> None:
    """SIGKILL to everything in the process group that ``pid`` leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
