"""What a machine is: decided before it exists, written down twice.

On the hypervisor it is the metadata of the domain, so that whoever finds the machine knows whose it is. In the state
directory it is a file, written before anything is made on the hypervisor and removed when nothing is left there; so it
is known which machines may exist on a hypervisor that does not answer, and a repeated attempt goes to the same one.
When the files are lost they are written again from the metadata.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autonodes.provider import ProviderError

NAMESPACE: Final = "https://autonodes.io/libvirt/machine/1"
BOOTED: Final = "https://autonodes.io/libvirt/booted/1"
"""Of a second piece of metadata: the machine was started. One that has it and does not run has stopped by itself."""
_PREFIX: Final = "autonodes"
_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """:param cpu: cores for pods, in millicores
    :param memory: bytes for pods; the machine has more
    :param disk: bytes
    :param resources: extended resources that its devices give
    :param pool: the storage pool with its disks
    :param address: of the node; "" if the network gives it one
    :param image: what it was booted from
    :param created_at: seconds since the epoch
    :param ordered: the hypervisor was told to make it, so that it may exist; known in the state directory only
    :param terminating: its removal has begun; known in the state directory only
    """

    claim_uid: str
    claim_name: str
    cluster: str
    node_pool: str
    uri: str
    instance_type: str
    zone: str
    cpu: int
    memory: int
    disk: int
    pods: int
    pool: str
    address: str
    image: str
    node_class_hash: str
    created_at: float
    resources: Mapping[str, int] = field(default_factory=dict)
    ordered: bool = False
    terminating: bool = False

    @property
    def domain_uuid(self) -> str:
        """The domain's: a claim's UID is one; anything else is made into one."""
        return domain_uuid(self.claim_uid)

    @property
    def domain_name(self) -> str:
        return f"{self.claim_name}-{self.domain_uuid[:8]}"

    @property
    def disk_volume(self) -> str:
        return f"{_PREFIX}-{self.claim_uid}.qcow2"

    @property
    def seed_volume(self) -> str:
        return f"{_PREFIX}-{self.claim_uid}-seed.iso"

    def to_element(self) -> ET.Element:
        """For the domain's metadata."""
        element = ET.Element(f"{{{NAMESPACE}}}machine")
        for name, value in self._plain().items():
            ET.SubElement(element, f"{{{NAMESPACE}}}{name}").text = json.dumps(value)
        return element

    def _plain(self) -> dict[str, Any]:
        plain = dataclasses.asdict(self)
        del plain["ordered"], plain["terminating"]
        return plain


def domain_uuid(claim_uid: str) -> str:
    try:
        return str(uuid.UUID(claim_uid))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{NAMESPACE}/{claim_uid}"))


def from_metadata(text: str) -> Record | None:
    """None if it is not written by this version."""
    try:
        element = ET.fromstring(text)  # noqa: S314 -- libvirt has parsed and written it
        return Record(**{child.tag.rpartition("}")[2]: json.loads(child.text or "") for child in element})
    except (ET.ParseError, ValueError, TypeError):
        return None


class Records:
    """The files: one for each machine that may exist.

    :param directory: made when needed
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, claim_uid: str) -> Record | None:
        """:raises ProviderError: the file can't be read"""
        path = self._path(claim_uid)
        try:
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ProviderError(f"{path} can't be read: {error}") from error

    def all(self) -> list[Record]:
        """By UID.

        :raises ProviderError: one of them can't be read
        """
        if not self._directory.exists():
            return []
        names = sorted(path.stem for path in self._directory.glob("*.json") if not path.name.startswith("."))
        return [record for name in names if (record := self.get(name)) is not None]

    def write(self, record: Record) -> None:
        """Durably, in one step."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(record.claim_uid)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with aside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(record), indent=1))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        self._sync()

    def remove(self, claim_uid: str) -> None:
        self._path(claim_uid).unlink(missing_ok=True)

    def _path(self, claim_uid: str) -> Path:
        if not is_uid(claim_uid):
            raise ProviderError(f"not a UID: {claim_uid!r}")
        return self._directory / f"{claim_uid}.json"

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_uid(text: str) -> bool:
    """Whether it can be one, and so safely be a file's and a volume's name."""
    return _UID.fullmatch(text) is not None
