"""/healthz and /readyz of an agent, for probes. Only for the node itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def serve_health(port: int, ready: Callable[[], bool]) -> None:
    """Answer on 127.0.0.1 until cancelled.

    :raises OSError: the port is taken
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                words = (await reader.readline()).split()
                writer.write(_response(words[1] if len(words) > 1 else b"", ready))
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=4096)
    async with server:
        await server.serve_forever()


def _response(path: bytes, ready: Callable[[], bool]) -> bytes:
    good = path == b"/healthz" or (path == b"/readyz" and ready())
    status, body = ("200 OK", "ok\n") if good else ("503 Service Unavailable", "not connected to every server\n")
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
