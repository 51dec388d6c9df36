"""Fetching a component's release and checking it by its publisher's checksum.

The checksum is fetched first, then the file, hashed as it is written aside; nothing is unpacked before the digest
agrees. A transfer that breaks off is tried once more; a wrong digest is not, since it says that the file or the
mirror is wrong.
"""

import hashlib
import shutil
import ssl
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from autonodes.components.checksums import published_sha256
from autonodes.components.connections import Connections
from autonodes.components.errors import DownloadFailed
from autonodes.components.pins import Pin, RemoteFile
from autonodes.components.reporting import Meter, Progress

_ATTEMPTS = 2
_CHUNK = 256 * 1024
_BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError, ssl.SSLError)


async def download(pin: Pin, arch: str, stage: Path, *, connections: Connections, progress: Progress) -> None:
    """Put the binaries of ``pin`` into ``stage``.

    :raises DownloadFailed: a file can't be had or is not what was published
    """
    files = pin.files(arch)
    if not files:
        raise DownloadFailed("its publisher releases no binaries", "build it from a source checkout")
    for file in files:
        label = str(pin) if len(files) == 1 else f"{pin} {next(iter(file.members))}"
        received = stage / f".{file.name}"
        await _fetch(file, received, connections, progress, label)
        _unpack(file, received, stage)


async def _fetch(file: RemoteFile, target: Path, connections: Connections, progress: Progress, label: str) -> None:
    async with connections.get(file.checksum_url) as answer:
        expected = published_sha256(await _text(answer), file.name, file.checksum_url)
    digest = await _receive_patiently(file.url, target, connections, progress, label)
    if digest != expected:
        raise DownloadFailed(
            f"{connections.address(file.url)} has SHA-256 {digest}, its publisher says {expected}",
            "the file or the mirror was altered or is damaged: use another mirror",
        )


async def _receive_patiently(url: str, target: Path, connections: Connections, progress: Progress, label: str) -> str:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with progress.download(label) as meter:
                return await _receive(url, target, connections, meter)
        except _BROKEN as error:
            broken = error
            progress.note(f"{label}: the transfer broke off ({attempt} of {_ATTEMPTS} tries)")
    reason = str(broken) or type(broken).__name__
    raise DownloadFailed(f"{connections.address(url)} broke off: {reason}", "try again") from broken


async def _text(answer: aiohttp.ClientResponse) -> str:
    try:
        return await answer.text(encoding="utf-8", errors="replace")
    except _BROKEN as error:
        raise DownloadFailed(f"{answer.url} broke off: {error or type(error).__name__}", "try again") from error


async def _receive(url: str, target: Path, connections: Connections, meter: Meter) -> str:
    """Write the body to ``target``; its SHA-256."""
    digest = hashlib.sha256()
    async with connections.get(url) as answer:
        if answer.content_length is not None:
            meter.expect(answer.content_length)
        with target.open("wb") as file:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                meter.advance(len(chunk))
    return digest.hexdigest()


def _unpack(file: RemoteFile, received: Path, stage: Path) -> None:
    for binary, member in file.members.items():
        if member is None:
            received.rename(stage / binary)
    archived = {binary: member for binary, member in file.members.items() if member is not None}
    if archived:
        _extract(file, received, archived, stage)
        received.unlink()


def _extract(file: RemoteFile, archive: Path, members: Mapping[str, str], stage: Path) -> None:
    """Copy the contents of ``members`` only: no path, owner or mode of the archive is used."""
    try:
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            for binary, member in members.items():
                source = None
                with suppress(KeyError):
                    source = tar.extractfile(names[member])
                if source is None:
                    raise DownloadFailed(f"{file.name} has no file {member}", "check versions.toml")
                with source, (stage / binary).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError) as error:
        raise DownloadFailed(f"{file.name} is not an archive ({error})", "check versions.toml") from error
