"""Finding every component, in this order: given by the user, cached, downloaded, built.

Given binaries are taken one by one; the other sources work by whole components. What is missing is downloaded in
parallel and then, component by component, built: one build uses every core. Fetching needs no more of a caller than
patience: :func:`resolve` blocks, so a coroutine calls it through ``asyncio.to_thread``.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from autonodes.components.build import build, source_modules
from autonodes.components.errors import BuildFailed, ComponentsMissing, DownloadFailed
from autonodes.components.given import GivenBinary, find_given, given_directories
from autonodes.components.pins import Pin, select
from autonodes.components.platforms import current_platform
from autonodes.components.reporting import Progress, Silent
from autonodes.components.store import Damage, Entry, Store, default_cache


class Origin(StrEnum):
    """Where a binary comes from in this run."""

    GIVEN = "given"
    CACHE = "cache"
    DOWNLOAD = "download"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary that can be run.

    :param component: what it is released with (``kubernetes``)
    :param version: as pinned, without a leading ``v``
    :param obtained_by: how a binary of the cache got there: download or build; for others, the origin
    """

    name: str
    component: str
    version: str
    path: Path
    origin: Origin
    obtained_by: Origin


class Components(Mapping[str, Binary]):
    """The binaries that were asked for, by name."""

    def __init__(self, binaries: Iterable[Binary]) -> None:
        self._binaries = {binary.name: binary for binary in binaries}

    def __getitem__(self, name: str) -> Binary:
        return self._binaries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._binaries)

    def __len__(self) -> int:
        return len(self._binaries)

    def path(self, name: str) -> Path:
        """Where the binary ``name`` is.

        :raises KeyError: it was not asked for
        """
        return self._binaries[name].path


def resolve(
    names: Iterable[str] | None = None,
    *,
    given: Path | Sequence[Path] | None = None,
    cache: Path | None = None,
    mirror: str | None = None,
    source_tree: Path | None = None,
    progress: Progress | None = None,
) -> Components:
    """Every binary that ``names`` mean, fetched if need be.

    :param names: components and binaries; None for all that are pinned
    :param given: directories to look in first; None for those of ``AUTONODES_COMPONENTS``
    :param cache: None for :func:`~autonodes.components.store.default_cache`
    :param mirror: base address of a mirror (``<mirror>/<host>/<path>``); None for ``AUTONODES_MIRROR``
    :param source_tree: root of a checkout with hack/components; None looks at where this package lies
    :raises ComponentsMissing: no source had them
    :raises RefusedBinary: a given binary is not the pinned one
    :raises CacheFault: the cache can't be written
    :raises ConfigError: a name that is not pinned
    """
    search = _Search.over(names, given=given, cache=cache, progress=progress)
    search.look_around()
    if search.missing():
        with search.store.locked(search.progress):
            search.look_around()  # another process may have been faster
            search.download(os.environ.get("AUTONODES_MIRROR", "") if mirror is None else mirror)
            search.build(source_modules(source_tree))
    return search.result()


def locate(
    names: Iterable[str] | None = None,
    *,
    given: Path | Sequence[Path] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Components, tuple[Pin, ...]]:
    """What is there without fetching anything, and the components of which something is missing.

    Parameters and errors are those of :func:`resolve`.
    """
    search = _Search.over(names, given=given, cache=cache, progress=progress)
    search.look_around()
    return Components(search.found.values()), tuple(search.missing())


def verify(names: Iterable[str] | None = None, *, cache: Path | None = None) -> dict[Pin, Entry | Damage | None]:
    """Hash what the cache has of ``names``; a damaged entry will not be used again."""
    store = Store(_cache(cache), current_platform())
    return {pin: store.verify(pin) for pin in select(names)}


@dataclass(slots=True)
class _Search:
    """One run: what is wanted, found, and tried in vain."""

    wanted: Mapping[Pin, tuple[str, ...]]
    directories: Sequence[Path]
    store: Store
    arch: str
    progress: Progress
    given: Mapping[tuple[Pin, str], GivenBinary]
    found: dict[str, Binary] = field(default_factory=dict)
    tried: dict[Pin, list[tuple[str, str]]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    @classmethod
    def over(
        cls,
        names: Iterable[str] | None,
        *,
        given: Path | Sequence[Path] | None,
        cache: Path | None,
        progress: Progress | None,
    ) -> "_Search":
        wanted = select(names)
        directories = _directories(given)
        platform = current_platform()
        return cls(
            wanted=wanted,
            directories=directories,
            store=Store(_cache(cache), platform),
            arch=platform.arch,
            progress=progress or Silent(),
            given=find_given(wanted, directories),
        )

    def look_around(self) -> None:
        """The sources that cost nothing."""
        self.found.clear()
        self.tried = {pin: [] for pin in self.wanted}
        for (pin, binary), it in self.given.items():
            self.found[binary] = Binary(binary, pin.name, pin.version, it.path, Origin.GIVEN, Origin.GIVEN)
            if not it.confirmed:
                self._tell(f"{it.path} does not say its version; taken for {pin.version}")
        for pin in self.missing():
            self._note_given(pin)
            self._look_in_cache(pin)

    def missing(self) -> list[Pin]:
        """Components of which something that is wanted has not been found."""
        return [p for p, binaries in self.wanted.items() if any(b not in self.found for b in binaries)]

    def download(self, mirror: str) -> None:
        """Fetch what is missing, all at once."""
        if self.missing():
            asyncio.run(self._download_all(mirror))

    def build(self, modules: Path | None) -> None:
        """Build what is missing, one after another."""
        for pin in self.missing():
            if modules is None:
                self._failed(pin, Origin.BUILD, "this is not a source checkout")
                continue
            try:
                with self.store.stage() as stage:
                    build(pin, modules, stage, cache=self.store.cache, progress=self.progress)
                    self._take(pin, self.store.commit(stage, pin, Origin.BUILD), Origin.BUILD)
            except BuildFailed as error:
                self._failed(pin, Origin.BUILD, str(error))

    def result(self) -> Components:
        """What was found, if that is everything."""
        missing = self.missing()
        if missing:
            raise ComponentsMissing({pin: self.tried[pin] for pin in missing})
        return Components(self.found[b] for binaries in self.wanted.values() for b in binaries)

    async def _download_all(self, mirror: str) -> None:
        from autonodes.components.connections import Connections  # aiohttp takes 0.2 s; most runs need none
        from autonodes.components.download import download

        async def one(pin: Pin) -> None:
            try:
                with self.store.stage() as stage:
                    await download(pin, self.arch, stage, connections=connections, progress=self.progress)
                    entry = await asyncio.to_thread(self.store.commit, stage, pin, Origin.DOWNLOAD)
                    self._take(pin, entry, Origin.DOWNLOAD)
            except DownloadFailed as error:
                self._failed(pin, Origin.DOWNLOAD, str(error))

        async with Connections(mirror=mirror) as connections:
            await asyncio.gather(*(one(pin) for pin in self.missing()))

    def _look_in_cache(self, pin: Pin) -> None:
        entry = self.store.find(pin)
        if isinstance(entry, Entry):
            self._take(pin, entry, Origin.CACHE)
        elif isinstance(entry, Damage):
            self._tell(f"the cached {pin} is damaged: {entry.reason}; it has to be fetched anew")
            self._failed(pin, Origin.CACHE, f"{entry.directory} is damaged: {entry.reason}")
        else:
            self._failed(pin, Origin.CACHE, f"not in {self.store.root}")

    def _note_given(self, pin: Pin) -> None:
        places = ", ".join(str(directory) for directory in self.directories)
        self._failed(pin, Origin.GIVEN, f"not in {places}" if places else "no directory was given")

    def _take(self, pin: Pin, entry: Entry, origin: Origin) -> None:
        for binary in self.wanted[pin]:
            if binary not in self.found:
                self.found[binary] = Binary(
                    binary, pin.name, pin.version, entry.path(binary), origin, Origin(entry.obtained_by)
                )

    def _tell(self, text: str) -> None:
        """Once, though :meth:`look_around` looks twice."""
        if text not in self.told:
            self.told.add(text)
            self.progress.note(text)

    def _failed(self, pin: Pin, origin: Origin, reason: str) -> None:
        self.tried[pin].append((origin, reason))


def _directories(given: Path | Sequence[Path] | None) -> tuple[Path, ...]:
    if given is None:
        return given_directories(os.environ)
    return (given,) if isinstance(given, Path) else tuple(given)


def _cache(cache: Path | None) -> Path:
    return default_cache(os.environ) if cache is None else cache
