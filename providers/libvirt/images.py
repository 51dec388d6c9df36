"""What machines boot from: the files of a node class, checked, and their copies in each hypervisor's storage pool.

A copy is named by the checksum of what it is a copy of, so that it never changes and serves all clusters of that
hypervisor. An upload that was cut off has that name too: a copy counts only with a second, tiny volume beside it, made
when the upload is complete.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import libvirt

from autonodes.api.libvirtnodeclass import MachineImageSpec
from autonodes.provider import NodeClassNotReadyError
from providers.libvirt import domains
from providers.libvirt.connections import Connection, Hypervisor
from providers.libvirt.domains import Boot
from providers.libvirt.errors import is_missing

BASE: Final = "autonodes-base"
_COMPLETE: Final = ".complete"
_QCOW2: Final = b"QFI\xfb"
_CHUNK: Final = 4 * 2**20

Upload = Callable[[Connection, "libvirt.virStorageVol", Path | bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """:param checksum: SHA-256 in hexadecimal"""

    path: Path
    checksum: str

    @property
    def volume(self) -> str:
        return f"{BASE}-{self.checksum[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """:param name: changes when any of its files does"""

    disk: File
    disk_format: str
    kernel: File | None
    initrd: File | None
    command_line: str

    @property
    def name(self) -> str:
        parts = [self.disk.checksum, *(file.checksum for file in (self.kernel, self.initrd) if file is not None)]
        return "sha256:" + hashlib.sha256(" ".join([*parts, self.command_line]).encode()).hexdigest()[:32]

    @property
    def files(self) -> tuple[File, ...]:
        return (self.disk, *(file for file in (self.kernel, self.initrd) if file is not None))


class Checksums:
    """Of files, remembered for as long as size, time and place of a file stay as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, int], str] = {}

    async def of(self, path: Path) -> str:
        """:raises OSError: it can't be read"""
        status = await asyncio.to_thread(path.stat)
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._known:
            self._known[key] = await asyncio.to_thread(_digest, path)
        return self._known[key]


async def image(spec: MachineImageSpec | None, default: Path | None, checksums: Checksums) -> Image:
    """The image of a node class.

    :param default: the directory of the one made from the components: ``disk.qcow2``, ``vmlinuz``, ``initrd``
    :raises NodeClassNotReadyError: there is none, it can't be read, or it is not what its checksum says
    """
    if spec is None:
        if default is None:
            raise NodeClassNotReadyError("spec.image: not given, and no image was made from the components: give one")
        spec = MachineImageSpec(
            disk=str(default / "disk.qcow2"),
            checksum="sha256:" + await _checksum(default / "disk.qcow2", "spec.image", checksums),
            kernel=str(default / "vmlinuz"),
            initrd=str(default / "initrd"),
        )
    disk = Path(spec.disk)
    found = await _checksum(disk, "spec.image.disk", checksums)
    if f"sha256:{found}" != spec.checksum:
        raise NodeClassNotReadyError(
            f"spec.image.checksum: {spec.checksum} is expected, but {disk} is sha256:{found}: "
            "fetch the image again, or correct the checksum"
        )
    return Image(
        disk=File(path=disk, checksum=found),
        disk_format=await asyncio.to_thread(_format, disk),
        kernel=await _optional(spec.kernel, "spec.image.kernel", checksums),
        initrd=await _optional(spec.initrd, "spec.image.initrd", checksums),
        command_line=spec.command_line,
    )


class Copies:
    """The copies in the storage pools of hypervisors.

    :param upload: fills a volume; the one of `send`, unless a driver has another way
    """

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._under_way: dict[tuple[str, str, str], asyncio.Task[str]] = {}

    async def boot(self, hypervisor: Hypervisor, pool: str, image: Image) -> Boot:
        """All files of the image are in the pool; where kernel and initrd are.

        :raises libvirt.libvirtError: the pool has no room, …
        """
        paths = {file: await self.ensure(hypervisor, pool, file) for file in image.files}
        return Boot(
            kernel=None if image.kernel is None else paths[image.kernel],
            initrd=None if image.initrd is None else paths[image.initrd],
            command_line=image.command_line,
        )

    async def ensure(self, hypervisor: Hypervisor, pool: str, file: File) -> str:
        """Its path on the hypervisor. One upload at a time, whoever waits for it."""
        key = (hypervisor.uri, pool, file.volume)
        task = self._under_way.get(key)
        if task is None:
            work = hypervisor.call(lambda connection: self._copy(connection, pool, file), within=None)
            task = self._under_way[key] = asyncio.create_task(work)
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _copy(self, connection: Connection, pool_name: str, file: File) -> str:
        pool = connection.storagePoolLookupByName(pool_name)
        found, mark = _volume(pool, file.volume), _volume(pool, file.volume + _COMPLETE)
        if found is not None and mark is not None:
            return str(found.path())
        if found is not None:
            found.delete()
        size = file.path.stat().st_size
        made = pool.createXML(domains.volume(file.volume, size, "raw"))
        self._upload(connection, made, file.path)
        if mark is None:
            pool.createXML(domains.volume(file.volume + _COMPLETE, 0, "raw"))
        return str(made.path())


def remove_unused(connection: Connection, pool_name: str) -> None:
    """Delete the copies that no machine of any cluster needs; a pool that does not exist has none."""
    try:
        pool = connection.storagePoolLookupByName(pool_name)
    except libvirt.libvirtError as error:
        if is_missing(error):
            return
        raise
    described = [each.XMLDesc() for each in connection.listAllDomains()]
    volumes = pool.listAllVolumes()
    backing = "".join([*described, *(each.XMLDesc() for each in volumes if not each.name().startswith(BASE))])
    copies = {each.name(): (each, each.path()) for each in volumes if each.name().startswith(f"{BASE}-")}
    for copy, path in copies.values():
        if path.removesuffix(_COMPLETE) not in backing:
            copy.delete()


def send(connection: Connection, volume: libvirt.virStorageVol, content: Path | bytes) -> None:
    """Fill a volume through the connection.

    :raises libvirt.libvirtError: it was refused or cut off
    """
    stream = connection.newStream()
    length = len(content) if isinstance(content, bytes) else content.stat().st_size
    try:
        volume.upload(stream, 0, length)
        if isinstance(content, bytes):
            rest = memoryview(content)
            while rest:
                rest = rest[stream.send(bytes(rest[:_CHUNK])) :]
        else:
            with content.open("rb") as file:
                stream.sendAll(lambda _stream, count, source: source.read(count), file)
        stream.finish()
    except BaseException:
        _abort(stream)
        raise


def _abort(stream: libvirt.virStream) -> None:
    try:
        stream.abort()
    except libvirt.libvirtError:
        return  # it has ended already


def _volume(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if is_missing(error):
            return None
        raise


async def _optional(path: str | None, field: str, checksums: Checksums) -> File | None:
    if path is None:
        return None
    return File(path=Path(path), checksum=await _checksum(Path(path), field, checksums))


async def _checksum(path: Path, field: str, checksums: Checksums) -> str:
    try:
        return await checksums.of(path)
    except OSError as error:
        raise NodeClassNotReadyError(f"{field}: {path} can't be read: {error.strerror}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _format(path: Path) -> str:
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == _QCOW2 else "raw"
