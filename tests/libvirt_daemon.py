"""A libvirt daemon of a test's own: real QEMU machines, unprivileged, with all files in one directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libvirt

USER = "libvirt-qemu"
"""Debian's user for machines; it may use KVM, and nothing else."""
_WITHIN = 30.0


@dataclass(frozen=True)
class Daemon:
    """:param directory: all that it has, the machines' disks in ``pool``"""

    directory: Path

    @property
    def uri(self) -> str:
        return f"qemu+unix:///session?socket={self.directory}/run/libvirt/libvirt-sock"

    @property
    def pid(self) -> int:
        return int((self.directory / "libvirtd.pid").read_text())

    def start(self) -> None:
        for name in ("run", "config", "cache", "data", "pool"):
            (self.directory / name).mkdir(exist_ok=True)
            shutil.chown(self.directory / name, USER)
        shutil.chown(self.directory, USER)
        environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin",
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": f"{self.directory}/run",
            "XDG_CONFIG_HOME": f"{self.directory}/config",
            "XDG_CACHE_HOME": f"{self.directory}/cache",
            "XDG_DATA_HOME": f"{self.directory}/data",
        }
        account = ("setpriv", f"--reuid={USER}", "--regid=kvm", "--init-groups")
        command = ("libvirtd", "--daemon", "--pid-file", f"{self.directory}/libvirtd.pid")
        subprocess.run([*account, *command], env=environment, cwd="/", check=True)
        with self.connection() as connection:
            if "default" not in [pool.name() for pool in connection.listAllStoragePools()]:
                target = f"<target><path>{self.directory}/pool</path></target>"
                connection.storagePoolDefineXML(f"<pool type='dir'><name>default</name>{target}</pool>").create()

    @contextlib.contextmanager
    def connection(self) -> Iterator[libvirt.virConnect]:
        deadline = time.monotonic() + _WITHIN
        while True:
            try:
                connection = libvirt.open(self.uri)
                break
            except libvirt.libvirtError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        try:
            yield connection
        finally:
            connection.close()

    def kill(self) -> None:
        """The daemon only: its machines run on, as after a crash."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        (self.directory / "libvirtd.pid").unlink()

    def machines(self) -> list[int]:
        """The processes of its machines."""
        found = self.directory.glob("run/libvirt/qemu/run/*.pid")
        return [int(path.read_text()) for path in found if path.name != "driver.pid"]  # which is the daemon's own


@contextlib.contextmanager
def daemon() -> Iterator[Daemon]:
    """Nothing of it is left afterwards, whatever is."""
    made = Daemon(Path(tempfile.mkdtemp(prefix="an-libvirt-")))
    try:
        made.start()
        yield made
    finally:
        with contextlib.suppress(FileNotFoundError):
            made.kill()
        for pid in made.machines():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(made.directory)
