"""Start one machine: ``python -m providers.local.machine DIRECTORY LOCK``, with an `Order` on standard input.

The starter (this process) puts itself into the machine's control group before anything else, so that from then on all
of the machine is found through the group. It makes the namespaces, forks the machine's first process, records
who that is, lets it go on, and ends when the machine is furnished: with 0, or with the reason on standard error. The
first process outlives it and has this host's init as its parent, so that a machine outlives whoever ordered it.

``LOCK`` is the number of an inherited descriptor with the machine's lock (flock(2)). Starter and first process
hold it until they end, and nobody else inherits it: who gets that lock knows that the machine has no process left that
could start another.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import NoReturn

from providers.local import cgroups
from providers.local.machine import identity, link, linux, rootfs
from providers.local.machine.order import Order
from providers.local.machine.supervision import Supervisor

_NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWCGROUP
)


def main() -> int:
    """The exit code: 0 when the machine runs."""
    os.set_inheritable(int(sys.argv[2]), False)
    try:
        order = Order.decode(sys.stdin.buffer.read())
        return start(order)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(describe(error), file=sys.stderr)
        return 1


def start(order: Order) -> int:
    """Make the machine, and wait until its first process says that it is furnished."""
    cgroups.create(order.group, cgroups.Limits(memory=order.memory, cpu_weight=order.cpu))
    cgroups.join(order.group)
    rootfs.seed(order)
    go_read, go_write = os.pipe()
    ok_read, ok_write = os.pipe()
    linux.unshare(_NAMESPACES)
    # strictly after unshare, which takes the group that we are in as the root of the new namespace; and out of
    # it before the kubelet comes: version 2 gives no controllers to the children of a group that has processes
    cgroups.join_leaf(order.group, "system")
    first = os.fork()
    if first == 0:
        os.close(go_write)
        os.close(ok_read)
        _first_process(order, go_read, ok_write)
    os.close(ok_write)
    identity.record(order.record, first)
    os.write(go_write, b"go")
    return 0 if os.read(ok_read, 2) == b"ok" else 1


def describe(error: Exception) -> str:
    """One line, with what a called program said."""
    said = getattr(error, "stderr", None)
    return f"{error} {said.strip()}" if said else str(error)


def _first_process(order: Order, go: int, ok: int) -> NoReturn:
    code = 1
    try:
        if os.read(go, 2) == b"go":  # nothing when the starter was killed: then nobody knows of us
            _furnish(order)
            os.write(ok, b"ok")
            os.close(ok)
            Supervisor(order.processes, programs=rootfs.PROGRAMS, logs=rootfs.LOGS).run()
            code = 0
    except (OSError, subprocess.CalledProcessError) as error:
        print(describe(error), file=sys.stderr, flush=True)
    os._exit(code)


def _furnish(order: Order) -> None:
    os.setsid()
    directory = os.open(os.path.dirname(order.record), os.O_RDONLY | os.O_DIRECTORY)
    socket.sethostname(order.hostname)
    link.connect(order.network)  # strictly before enter: it needs this host's paths
    rootfs.enter(order)
    rootfs.furnish(order)
    identity.confirm(directory)
    os.close(directory)


if __name__ == "__main__":
    sys.exit(main())
