"""HTTP for machines that may have no internet.

A host that can't be connected to is asked once: the first request to a host goes alone, and when it gets no answer all
others to that host fail at once. So a machine without internet loses one connect timeout per host, not one per file.
Names are resolved in daemon threads, because a resolver that hangs must hold up neither the timeout nor the end of
the process (asyncio's own threads are joined at exit).
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from autonodes.components.errors import DownloadFailed

CONNECT_S = 5.0  # to resolve, connect and shake hands; a host that needs longer is no better than none
STALL_S = 20.0  # without a byte
_REMEDY = "check the connection, the proxy variables or the mirror"
# Nothing came back at all: says something of the host, and not of the file.
_UNREACHABLE = (aiohttp.ClientConnectionError, aiohttp.ClientHttpProxyError, TimeoutError, OSError)


class Unreachable(DownloadFailed):
    """The host gives no answer."""


class Connections:
    """One HTTP session and what it has learnt of hosts.

    :param mirror: base address that stands for the whole web: ``https://host/path`` is asked for at
        ``<mirror>/host/path``; empty for none
    :param connect_s: seconds until a host counts as unreachable
    :param stall_s: seconds without a byte until a transfer counts as broken
    """

    def __init__(self, *, mirror: str = "", connect_s: float = CONNECT_S, stall_s: float = STALL_S) -> None:
        self._mirror = mirror.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=stall_s)
        self._hosts: dict[str, _Host] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Connections":
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            trust_env=True,  # HTTPS_PROXY and NO_PROXY
            connector=aiohttp.TCPConnector(limit=4, resolver=_DaemonResolver()),
            headers={"User-Agent": "autonodes"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None  # noqa: S101 -- entered
        await self._session.close()

    def address(self, url: str) -> URL:
        """Where ``url`` is really asked for."""
        if not self._mirror:
            return URL(url)
        real = URL(url)
        return URL(f"{self._mirror}/{real.host}{real.raw_path}")

    @asynccontextmanager
    async def get(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer 200 to a GET, its body not yet read.

        :raises Unreachable: no answer, now or earlier in this run
        :raises DownloadFailed: another answer than 200
        """
        address = self.address(url)
        host = self._hosts.setdefault(str(address.origin()), _Host())
        response = await self._answer(address, host)
        async with response:
            if response.status != 200:
                raise DownloadFailed(f"{address} answers {response.status} {response.reason}", _REMEDY)
            yield response

    async def _answer(self, address: URL, host: "_Host") -> aiohttp.ClientResponse:
        if host.reached:
            return await self._request(address, host)
        async with host.first:
            return await self._request(address, host)

    async def _request(self, address: URL, host: "_Host") -> aiohttp.ClientResponse:
        assert self._session is not None  # noqa: S101 -- entered
        if host.silent:
            raise Unreachable(host.silent, _REMEDY)
        try:
            response = await self._session.get(address)
        except _UNREACHABLE as error:
            message = f"{address.origin()} does not answer ({_words(error)})"
            if not host.reached:
                host.silent = message
            raise Unreachable(message, _REMEDY) from error
        except aiohttp.ClientError as error:
            raise DownloadFailed(f"{address}: {_words(error)}", _REMEDY) from error
        host.reached = True
        return response


class _Host:
    """What is known of one host in this run."""

    def __init__(self) -> None:
        self.first = asyncio.Lock()
        self.reached = False
        self.silent = ""


class _DaemonResolver(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(result: list[ResolveResult] | OSError) -> None:
            if done.done():
                return
            if isinstance(result, OSError):
                done.set_exception(result)
            else:
                done.set_result(result)

        def look_up() -> None:
            result = _addresses(host, port, family)
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, result)

        threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        return await done

    async def close(self) -> None:
        """Threads end by themselves."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult] | OSError:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError as error:
        return error
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
        )
        for kind, _, proto, _, address in found
    ]


def _words(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error)
    return text or type(error).__name__
