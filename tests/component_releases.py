"""A mirror of the publishers' releases on the loopback, small stand-ins for binaries, and a recorded progress."""

import asyncio
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from autonodes.components.pins import Pin, RemoteFile
from autonodes.components.platforms import current_platform
from autonodes.components.reporting import Meter


def script(version: str) -> bytes:
    """A program that says that it is of ``version``."""
    return f"#!/bin/sh\necho 'stand-in version v{version}'\n".encode()


def put_script(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o755)
    return path


def archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Mirror:
    """Serves ``/<host>/<path>``; runs in a thread of its own, because the resolver blocks."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.behaviours: dict[str, list[str]] = {}
        self.requests: list[str] = []
        self.url = ""

    def publish(self, pin: Pin) -> None:
        """All files of a component's release, with right checksums."""
        for file in pin.files(current_platform().arch):
            self.publish_file(pin, file)

    def publish_file(self, pin: Pin, file: RemoteFile) -> None:
        packed = {member: script(pin.version) for member in file.members.values() if member is not None}
        body = archive(packed) if packed else script(pin.version)
        self.bodies[_path(file.url)] = body
        self.publish_checksum(file, hashlib.sha256(body).hexdigest())

    def publish_checksum(self, file: RemoteFile, digest: str) -> None:
        text = f"{digest}  {file.name}\n"
        if "api.github.com" in file.checksum_url:
            text = json.dumps({"assets": [{"name": file.name, "digest": f"sha256:{digest}"}]})
        self.bodies[_path(file.checksum_url)] = text.encode()

    def misbehave(self, url: str, *behaviours: str) -> None:
        """The next requests for ``url`` end so: truncate, hang; afterwards it is served whole."""
        self.behaviours[_path(url)] = list(behaviours)

    @contextmanager
    def serving(self) -> Iterator["Mirror"]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        body = self.bodies.get(request.path)
        if body is None:
            return web.Response(status=404)
        remaining = self.behaviours.get(request.path, [])
        behaviour = remaining.pop(0) if remaining else ""
        if behaviour == "hang":
            await asyncio.Event().wait()
        if behaviour == "truncate":
            return await _truncated(request, body)
        return web.Response(body=body)


async def _truncated(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


def _path(url: str) -> str:
    return "/" + url.removeprefix("https://")


class RecordedProgress:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.noted = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()

    @contextmanager
    def download(self, what: str) -> Iterator[Meter]:
        self.notes.append(f"download {what}")
        yield _Deaf()

    @contextmanager
    def build(self, what: str) -> Iterator[Meter]:
        self.notes.append(f"build {what}")
        yield _Deaf()


class _Deaf:
    def expect(self, total_bytes: int) -> None: ...
    def advance(self, count: int) -> None: ...
    def tick(self, elapsed_s: float) -> None: ...
