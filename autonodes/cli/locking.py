"""One `up` or `down` at a time for a cluster.

The lock is a name in the kernel (unix(7), abstract sockets): it goes with its holder, however that ends, and leaves no
file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator

from autonodes.cli.state import Cluster
from autonodes.core.errors import EnvironmentFault


@contextlib.contextmanager
def locked(cluster: Cluster) -> Iterator[None]:
    """:raises EnvironmentFault: another command has it"""
    key = hashlib.sha256(os.fsencode(cluster.directory)).hexdigest()[:32]
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0autonodes/{os.geteuid()}/{key}")
        except OSError as error:
            raise EnvironmentFault(
                f"another `autonodes` is at work on cluster {cluster.name}", "wait until it is done and try again"
            ) from error
        yield
