"""A containerd root with every image in it, made once, from which each machine starts.

Importing an archive takes longer than booting a node. So a throw-away containerd imports and unpacks all of them
into a directory, which a new machine then gets a copy of: blobs and unpacked layers as hard links, the databases
for real. The directory is named by what went into it; it is written aside and renamed when it is on disk, and
another set of images makes another one.

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
for archive; do ctr --address /run/containerd.sock --namespace k8s.io images import "$archive" >/dev/null; done
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
        if not done.exists():
            aside = done.with_name(f".{done.name}.new")
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
            (aside / "root").mkdir(parents=True)
            await self._import(aside, lock)
            await self._finish(aside, done)
        return done

    async def _import(self, aside: Path, lock: int) -> None:
        config = aside / "config.toml"
        config.write_text(_CONFIG.format(root=aside / "root"), encoding="utf-8")
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

    async def _finish(self, aside: Path, done: Path) -> None:
        root = aside / "root"
        for entry in root.iterdir():
            if entry.name not in _KEPT:
                await asyncio.to_thread(shutil.rmtree, entry)
        # the rename may reach the disk before the files do
        sync = await asyncio.create_subprocess_exec("sync", "--file-system", str(root))
        await sync.wait()
        root.rename(done)
        for other in self._directory.iterdir():
            if other != done:
                await asyncio.to_thread(shutil.rmtree, other, ignore_errors=True)


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
