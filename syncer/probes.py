"""Asking a process whether it is ready. One question takes at most `PATIENCE` seconds."""

from __future__ import annotations

import asyncio
import functools
import ssl
from urllib.parse import urlsplit

from syncer.process import Probe

PATIENCE = 5.0
INTERVAL = 0.02
"""Seconds between two questions to a starting process: what a start loses at most."""
TLS_INTERVAL = 0.05
"""As above where each question costs both sides a handshake."""


async def is_ready(probe: Probe) -> bool:
    """Never raises: whatever goes wrong means "not yet"."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _ask(probe)
    except (OSError, TimeoutError, ValueError, EOFError):
        return False


def interval(probe: Probe) -> float:
    return TLS_INTERVAL if probe.https_url else INTERVAL


async def _ask(probe: Probe) -> bool:
    if probe.unix_socket:
        _, writer = await asyncio.open_unix_connection(probe.unix_socket)
        writer.close()
        return True
    url = probe.https_url or probe.http_url
    return await _answers_200(url, probe.ca_file) if url else True


async def _answers_200(url: str, ca_file: str) -> bool:
    """A GET without credentials.

    Without a CA the certificate is not looked at: some components make one up at every start, and are told nothing.
    """
    parts = urlsplit(url)
    context = _tls(ca_file) if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    try:
        path = parts.path or "/"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        status_line = await reader.readline()
    finally:
        writer.close()
    return status_line.split(b" ")[1:2] == [b"200"]


@functools.cache
def _tls(ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        context.load_verify_locations(ca_file)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
