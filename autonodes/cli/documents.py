"""Files of Kubernetes objects: YAML or JSON, several documents, Lists, directories, standard input.

What can't be read is a fault that names its file; the rest is read all the same.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from autonodes.core.errors import AutonodesError, ConfigError

STDIN: Final = "-"
_GZIP: Final = b"\x1f\x8b"
_SUFFIXES: Final = (".yaml", ".yml", ".json", ".csv", ".gz")


@dataclass(frozen=True, slots=True)
class File:
    """:param source: the path as given, ``stdin`` for standard input"""

    source: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One object.

    :param source: ``web.yaml: Deployment/web``
    """

    source: str
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind") or "")

    @property
    def metadata(self) -> Mapping[str, Any]:
        found = self.body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        return str(self.metadata.get("name") or self.metadata.get("generateName") or "")

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "default")

    @property
    def group(self) -> str | None:
        """Its API group, "" for the core group; None where no apiVersion is given."""
        version = self.body.get("apiVersion")
        return None if version is None else "".join(str(version).rpartition("/")[:1])

    def stored(self) -> bytes:
        """As an API server would send it, that is with its namespace."""
        return msgspec.json.encode({**self.body, "metadata": {**self.metadata, "namespace": self.namespace}})


def files(paths: Sequence[str]) -> Iterator[File]:
    """As they are given; of a directory those with a known suffix, by name. What is packed is unpacked.

    :raises ConfigError: there is no such file, or nothing of use in a directory
    """
    for path in paths:
        if path == STDIN:
            yield _unpacked("stdin", sys.stdin.buffer.read())
            continue
        listed = _listed(Path(path))
        if not listed:
            raise ConfigError("-f", path, f"the directory has no file that ends in {', '.join(_SUFFIXES)}")
        for each in listed:
            yield _unpacked(str(each), _content(each))


def _listed(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES and each.is_file())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("-f", str(path), "there is no such file") from None


def _unpacked(source: str, content: bytes) -> File:
    if not content.startswith(_GZIP):
        return File(source, content)
    try:
        return File(source, gzip.decompress(content))
    except (OSError, EOFError) as error:
        raise ConfigError("-f", source, f"can't be unpacked: {error}") from error


def documents(file: File, faults: list[AutonodesError]) -> list[Document]:
    """The objects of a file, those in Lists too.

    :param faults: takes what can't be read
    """
    try:
        loaded = list(yaml.load_all(file.content, Loader=_LOADER))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        faults.append(ConfigError(file.source, None, f"is neither YAML nor JSON: {' '.join(str(error).split())}"))
        return []
    found: list[Document] = []
    for number, body in enumerate(loaded, 1):
        if body is not None:
            _take(body, f"{file.source}, document {number}" if len(loaded) > 1 else file.source, file, found, faults)
    return found


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is installed: ten times as fast."""


def _take(body: object, place: str, file: File, found: list[Document], faults: list[AutonodesError]) -> None:
    if not isinstance(body, Mapping) or not isinstance(body.get("kind"), str):
        shown = body if not isinstance(body, Mapping) else body.get("kind")
        faults.append(ConfigError(f"{place}: kind", shown, "a Kubernetes object has apiVersion, kind and metadata"))
        return
    if body["kind"].endswith("List") and isinstance(body.get("items"), list):
        for number, item in enumerate(body["items"]):
            _take(item, f"{place}, items[{number}]", file, found, faults)
        return
    document = Document("", body)
    if not document.name:
        faults.append(ConfigError(f"{place}: {body['kind']}: metadata.name", None, "is missing: give it a name"))
        return
    found.append(Document(f"{file.source}: {document.kind}/{document.name}", body))
