"""A containerd root with every image in it, made once, from which each machine starts.

Importing an archive takes longer than booting a node. So a throw-away containerd imports and unpacks all of them
into a directory, which a new machine then gets a copy of: blobs and unpacked layers as hard links, the databases
for real. The directory is named by what went into it; it is written aside and renamed when it is whole, and
another set of images makes another one.

Whole is not yet on disk, and the wait for that is long on a busy disk. So the directory is used at once, with a mark of
this host's boot in it; a mark that holds for ever replaces it when the disk has everything. After a crash of the host
between the two it is made anew.

The throw-away containerd lives in namespaces of its own and ends with whoever started it, with all its mounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from providers.local.lan import run
from providers.local.machine.identity import boot_id

ROOT: Final = "root"
_MARK: Final = "complete"
_ON_DISK: Final = "on disk"

_FORMAT: Final = "1"
"""Change it when what is made here changes."""

_KEPT: Final = frozenset(
    {
        "io.containerd.content.v1.content",
        "io.containerd.metadata.v1.bolt",
        "io.containerd.snapshotter.v1.overlayfs",
    }
)

_CONFIG: Final = """\
version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
]
[grpc]
  address = "/run/containerd.sock"
"""

_SCRIPT: Final = """
mount -t tmpfs tmpfs /run
containerd --config "$1" >"$2" 2>&1 &
shift 2
until ctr --address /run/containerd.sock version >/dev/null 2>&1; do kill -0 $!; sleep 0.02; done
# --local reads the archive itself: through the transfer service each byte would go back and forth
for archive; do ctr --address /run/containerd.sock --namespace k8s.io images import --local "$archive" >/dev/null; done
kill $!
wait $!
"""


class ImageStore:
    """:param directory: where it is made; on the file system of the machines, for the sake of hard links
    :param binaries: of ``containerd`` and ``ctr``
    """

    def __init__(self, directory: Path, *, archives: Sequence[Path], binaries: Mapping[str, str]) -> None:
        self._directory, self._archives, self._binaries = directory, tuple(archives), binaries

    async def ensure(self, lock: int) -> Path:
        """The directory to start from, made if it isn't there.

        :param lock: what keeps others from making it too; the throw-away containerd holds it as well
        :raises EnvironmentFault: the images can't be imported
        """
        done = self._directory / await asyncio.to_thread(fingerprint, self._archives)
        if not _usable(done):
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            aside = done.with_name(f".{done.name}.new")
            (aside / ROOT).mkdir(parents=True)
            await self._import(aside, lock)
            await asyncio.to_thread(_finish, aside, done)
        return done / ROOT

    def unpacked(self) -> Path:
        """The same as `ensure`, for a caller that is no coroutine and keeps others away by itself."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with Path(os.devnull).open("rb") as nothing:
            return asyncio.run(self.ensure(nothing.fileno()))

    async def settle(self, lock: int) -> None:
        """Wait until what `ensure` has made is on disk, and say so there.

        :raises CommandError: the disk has a fault
        """
        for mark in await asyncio.to_thread(_unsettled, self._directory):
            await run("sync", "--file-system", str(mark), lock=lock)
            await asyncio.to_thread(mark.write_text, _ON_DISK, encoding="ascii")

    async def _import(self, aside: Path, lock: int) -> None:
        config = aside / "config.toml"
        config.write_text(_CONFIG.format(root=aside / ROOT), encoding="utf-8")
        path = os.pathsep.join(
            [
                *dict.fromkeys(str(Path(binary).parent) for binary in self._binaries.values()),
                os.environ.get("PATH", os.defpath),
            ]
        )
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child=KILL", "--mount-proc"),
            *("sh", "-ec", _SCRIPT, "sh", str(config), str(aside / "log"), *map(str, self._archives)),
            env={"PATH": path},
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(lock,),
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise EnvironmentFault(
                f"the images for nodes can't be imported: {said.decode(errors='replace').strip()}",
                f"see {aside / 'log'}; is the disk full, or an archive damaged?",
            )


def _usable(done: Path) -> bool:
    try:
        return (done / _MARK).read_text(encoding="ascii") in (_ON_DISK, boot_id())
    except FileNotFoundError:
        return False


def _unsettled(directory: Path) -> list[Path]:
    return [mark for mark in directory.glob(f"*/{_MARK}") if mark.read_text(encoding="ascii") != _ON_DISK]


def _finish(aside: Path, done: Path) -> None:
    for entry in (aside / ROOT).iterdir():
        if entry.name not in _KEPT:
            shutil.rmtree(entry)
    (aside / _MARK).write_text(boot_id(), encoding="ascii")
    aside.rename(done)


def fingerprint(archives: Sequence[Path]) -> str:
    """Changes when the content of any archive does.

    An OCI archive's index names everything else in it by digest (OCI image layout); of another archive the whole is
    read.

    :raises EnvironmentFault: one can't be read
    """
    digest = hashlib.sha256(_FORMAT.encode())
    try:
        for archive in archives:
            digest.update(_index(archive))
    except OSError as error:
        raise EnvironmentFault(f"an image archive can't be read: {error}", "`autonodes up` makes them again") from error
    return digest.hexdigest()[:32]


def _index(archive: Path) -> bytes:
    with contextlib.suppress(tarfile.ReadError, KeyError), tarfile.open(archive, "r:") as tar:
        if index := tar.extractfile("index.json"):
            return index.read()
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
