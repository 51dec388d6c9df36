"""The cache of components on disk: ``<cache>/components/<platform>/<component>-<version>/``.

An entry is a directory with the binaries and ``manifest.json``, which records how it was obtained and size, time of
change and SHA-256 of each binary. It is made aside (``.stage-…`` in the same directory, so on the same file system),
synced and then renamed, so that an entry is either whole or not there; a process that runs an older binary keeps it
by its open file.

At use an entry is checked by size and time of change, in microseconds; only when the time differs is the content
hashed. :meth:`Store.verify` hashes always. An entry that fails either check counts as absent.

Writers hold a file lock on the whole platform's directory: two processes never fetch or build the same thing at
once, and whoever has the lock may remove what a killed one left behind.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from autonodes.components.errors import CacheFault
from autonodes.components.pins import Pin
from autonodes.components.platforms import Platform
from autonodes.components.reporting import Progress

MANIFEST = "manifest.json"
_STAGE, _OLD, _LOCK = ".stage-", ".old-", ".lock"
_CHUNK = 1024 * 1024
_CORRUPTION = (OSError, ValueError, KeyError, TypeError)  # anything that a damaged manifest can raise


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is recorded of one binary."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole component in the cache.

    :param obtained_by: ``download`` or ``build``
    """

    directory: Path
    obtained_by: str
    binaries: Mapping[str, Fingerprint]

    def path(self, binary: str) -> Path:
        """Where ``binary`` is."""
        return self.directory / binary


@dataclass(frozen=True, slots=True)
class Damage:
    """An entry that must not be used, and why."""

    directory: Path
    reason: str


class Store:
    """The entries for one platform below the cache directory."""

    def __init__(self, cache: Path, platform: Platform) -> None:
        self.cache = cache
        self.root = cache / "components" / str(platform)

    def directory(self, pin: Pin) -> Path:
        """Where the entry of ``pin`` is or would be."""
        return self.root / f"{pin.name}-{pin.version}"

    def find(self, pin: Pin) -> Entry | Damage | None:
        """The entry of ``pin`` if it can be used; None if there is none."""
        return self._examine(pin, always_hash=False)

    def verify(self, pin: Pin) -> Entry | Damage | None:
        """Like :meth:`find`, but every binary is hashed, and a damaged entry is marked so that it stays unusable."""
        found = self._examine(pin, always_hash=True)
        if isinstance(found, Damage):
            with suppress(OSError):
                (found.directory / MANIFEST).unlink(missing_ok=True)
        return found

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Alone among all processes that write to this cache.

        :raises CacheFault: it can't be written
        """
        with self._faults():
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.note("another process is fetching or building components; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._sweep()
            yield
        finally:
            os.close(handle)  # which unlocks

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """An empty directory to put a component's binaries in, gone afterwards unless :meth:`commit` took it.

        :raises CacheFault: the disk is full or not writable, at any write inside the context
        """
        with self._faults():
            stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=self.root))
            try:
                yield stage
            finally:
                shutil.rmtree(stage, ignore_errors=True)

    def commit(self, stage: Path, pin: Pin, obtained_by: str) -> Entry:
        """Make the binaries in ``stage`` the entry of ``pin``, in place of any that is there."""
        with self._faults():
            prints = {binary: _settle(stage / binary) for binary in pin.binaries}
            manifest = {
                "component": pin.name,
                "version": pin.version,
                "obtainedBy": obtained_by,
                "binaries": {binary: asdict(fingerprint) for binary, fingerprint in prints.items()},
            }
            (stage / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            stage.chmod(0o755)
            self._replace(self.directory(pin), stage)
        return Entry(self.directory(pin), obtained_by, prints)

    def _examine(self, pin: Pin, *, always_hash: bool) -> Entry | Damage | None:
        directory = self.directory(pin)
        if not directory.is_dir():
            return None
        try:
            entry = _read(directory)
        except _CORRUPTION as error:
            return Damage(directory, f"its {MANIFEST} can't be read ({error or type(error).__name__})")
        for binary in pin.binaries:
            reason = _difference(entry, binary, always_hash=always_hash)
            if reason:
                return Damage(directory, reason)
        return entry

    def _replace(self, target: Path, stage: Path) -> None:
        if target.exists():
            aside = Path(tempfile.mkdtemp(prefix=_OLD, dir=self.root))
            target.rename(aside / target.name)
            stage.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            stage.rename(target)

    def _sweep(self) -> None:
        for left in [*self.root.glob(f"{_STAGE}*"), *self.root.glob(f"{_OLD}*")]:
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheFault.of(error, self.root) from error


def default_cache(environment: Mapping[str, str]) -> Path:
    """``AUTONODES_CACHE``, else /var/cache/autonodes for root, else ~/.cache/autonodes (XDG_CACHE_HOME)."""
    if chosen := environment.get("AUTONODES_CACHE"):
        return Path(chosen).expanduser()
    if os.geteuid() == 0:
        return Path("/var/cache/autonodes")
    home = environment.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "autonodes"


def sha256(path: Path) -> str:
    """The content's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settle(binary: Path) -> Fingerprint:
    """Make it executable and put it on the disk for good."""
    binary.chmod(0o755)
    with binary.open("rb") as file:
        os.fsync(file.fileno())
    status = binary.stat()
    return Fingerprint(sha256(binary), status.st_size, status.st_mtime_ns)


def _read(directory: Path) -> Entry:
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    prints = {binary: Fingerprint(**record) for binary, record in manifest["binaries"].items()}
    return Entry(directory, str(manifest["obtainedBy"]), prints)


def _difference(entry: Entry, binary: str, *, always_hash: bool) -> str:
    """Why ``binary`` is not what the manifest says; empty when it is."""
    known = entry.binaries.get(binary)
    if known is None:
        return f"{binary} is not in its {MANIFEST}"
    path = entry.path(binary)
    try:
        status = path.stat()
        if status.st_size != known.size:
            return f"{binary} has {status.st_size} bytes instead of {known.size}"
        if (always_hash or status.st_mtime_ns != known.mtime_ns) and sha256(path) != known.sha256:
            return f"the content of {binary} has changed"
    except OSError as error:
        return f"{binary}: {error.strerror or error}"
    return "" if os.access(path, os.X_OK) else f"{binary} is not executable"
