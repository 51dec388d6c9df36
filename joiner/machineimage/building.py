"""From programs, images and a kernel to the three files that a machine boots from: a disk, a kernel and an initrd.

They are named by what they were made from, and written aside and renamed when they are whole: equal components give the
same directory, and another version another one. The disk is a file system without a partition table.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from joiner.machineimage import initrd, rootfs
from joiner.machineimage.kernels import Kernel

_FORMAT: Final = "1"
"""Change it when what is made here changes, besides the scripts, which count by themselves."""

_DISK_BYTES: Final = 4 * 2**30
"""Of the file system; a machine with a larger disk grows it when it boots."""
_INODE_RATIO: Final = 32768
"""Bytes of disk for each inode. Inode tables are written out, so that no machine has to do it."""

_TOOLS: Final = {"mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "cpio": "cpio"}
"""Tool → Debian package."""


@dataclass(frozen=True, slots=True)
class MachineImage:
    """:param directory: where its files are; its name is the image's version"""

    directory: Path

    @property
    def disk(self) -> Path:
        """In qcow2 format."""
        return self.directory / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"


def machine_image(
    binaries: Mapping[str, Path],
    archives: Sequence[Path],
    kernel: Kernel,
    cache: Path,
    *,
    unpack: Callable[[], Path],
) -> MachineImage:
    """The image, made if it is not in ``cache``.

    :param binaries: name → program, for the component directory
    :param archives: the images that it holds; their names are taken for their content
    :param unpack: gives a containerd root with these images in it; called only when the image must be made
    :raises EnvironmentFault: a program of this machine is missing, the disk is full, …
    """
    made = MachineImage(cache / _fingerprint(binaries, archives, kernel))
    cache.mkdir(parents=True, exist_ok=True)
    if not made.directory.exists():
        with _lock(cache / "lock"):  # another process may be making it just now
            if not made.directory.exists():
                _make(made, binaries, kernel, unpack())
    return made


def _make(made: MachineImage, binaries: Mapping[str, Path], kernel: Kernel, containerd_root: Path) -> None:
    for tool, package in _TOOLS.items():
        if _tool(tool) is None:
            raise EnvironmentFault(f"{tool} is not installed", f"apt-get install {package}")
    with tempfile.TemporaryDirectory(dir=made.directory.parent) as aside:
        whole = MachineImage(Path(aside) / "whole")
        whole.directory.mkdir()
        tree = Path(aside) / "tree"
        rootfs.furnish(tree, binaries, kernel, containerd_root)
        _write_disk(tree, Path(aside) / "raw", whole.disk)
        initrd.write(kernel, whole.initrd)
        shutil.copyfile(kernel.image, whole.kernel)
        for file in (whole.disk, whole.initrd, whole.kernel):
            file.chmod(0o644)
        _sync(whole.directory)
        whole.directory.rename(made.directory)


def _write_disk(tree: Path, raw: Path, disk: Path) -> None:
    extended = "lazy_itable_init=0,lazy_journal_init=0,discard,root_owner=0:0"
    _run(
        *("mke2fs", "-q", "-t", "ext4", "-d", str(tree), "-L", "root", "-m", "0", "-i", str(_INODE_RATIO)),
        *("-E", extended, str(raw), f"{_DISK_BYTES // 1024}k"),
    )
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk))


def _fingerprint(binaries: Mapping[str, Path], archives: Sequence[Path], kernel: Kernel) -> str:
    digest = hashlib.sha256(f"{_FORMAT}\n{kernel.package}\n".encode())
    for name, path in sorted(binaries.items()):
        status = path.stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    for archive in sorted(archive.name for archive in archives):
        digest.update(f"{archive}\n".encode())
    for name in ("initrd.sh", "boot.sh", "udhcpc.sh"):
        digest.update(resources.files(__package__).joinpath(name).read_bytes())
    return digest.hexdigest()[:24]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(directory: Path) -> None:
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tool(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _run(*command: str) -> None:
    program = _tool(command[0]) or command[0]
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnvironmentFault(f"{command[0]}: {done.stderr.strip()}", "is the disk full?")
