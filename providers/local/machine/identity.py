"""Which process a machine is, and whether it has come up.

A process number alone could be someone else's later, so the record also has the time at which the process was
started and the boot of this host that it belongs to. The starter writes the record; the first process adds its own
start time in a file of its own when it has furnished the machine: the mark of an earlier boot counts for nothing.
"""

from __future__ import annotations

import json
import os
from typing import Final

CONFIRMED: Final = "furnished"


def record(path: str, pid: int) -> None:
    """Say durably, in one step, that ``pid`` is the machine's first process."""
    status = _status(pid)
    text = json.dumps({"pid": pid, "started": status[1], "boot": boot_id()})
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def recorded(path: str) -> int | None:
    """The process of the record if it lives, None if it is dead or was never recorded.

    A zombie is dead: in a container without an init nobody may ever look at it.
    """
    try:
        with open(path, encoding="ascii") as file:
            known = json.load(file)
        state, started = _status(known["pid"])
    except (FileNotFoundError, ProcessLookupError):
        return None
    alive = known["boot"] == boot_id() and known["started"] == started and state not in ("Z", "X")
    return int(known["pid"]) if alive else None


def confirm(directory: int) -> None:
    """Say, as the first process, that the machine is furnished.

    :param directory: a descriptor of the record's directory, that this process no longer has in its file system
    """
    descriptor = os.open(CONFIRMED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=directory)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(str(_status(os.getpid())[1]))


def confirmed(path: str) -> bool:
    """Whether the process of the record has come so far, dead or alive."""
    try:
        with open(path, encoding="ascii") as record_file:
            known = json.load(record_file)
        with open(f"{os.path.dirname(path)}/{CONFIRMED}", encoding="ascii") as mark:
            return mark.read() == str(known["started"])
    except FileNotFoundError:
        return False


def boot_id() -> str:
    """This host's boot; another after each reboot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _status(pid: int) -> tuple[str, int]:
    """State letter, and the start in clock ticks since boot: fields 3 and 22 of /proc/PID/stat (proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])
