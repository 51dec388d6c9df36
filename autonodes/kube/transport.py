"""HTTP to one API server: a session, credentials, timeouts, typed errors and which requests may be repeated.

Repeating rules:

- Reads are repeated on 429, on 5xx and after a lost connection, a few times, as the server's ``Retry-After`` asks.
- Writes are repeated only on 429 with ``Retry-After`` and without a PodDisruptionBudget as its cause: the server
  turned the request away before it did anything. After a lost connection or a 5xx a write may have taken place, so
  the caller decides.

Every request has a time limit. HTTP/1.1 on purpose: a stuck stream blocks only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Final

import aiohttp

from autonodes.kube.backoff import Backoff
from autonodes.kube.errors import (
    ApiError,
    ApiUnreachableError,
    ServerError,
    TooManyRequestsError,
    error_from_response,
)
from autonodes.kube.kubeconfig import Credentials

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for TCP and TLS together: the server is near; a longer wait only hides that it is gone."""
REQUEST_TIMEOUT: Final = 34.0
"""Seconds for a request and its answer: a webhook may take 30 s (its highest timeoutSeconds), and something on top."""
READ_ATTEMPTS: Final = 4
WRITE_ATTEMPTS: Final = 4
LONGEST_RETRY_AFTER: Final = 10.0
"""Seconds. A server that asks for more gets its error handed to the caller, who has better things to do."""
TOKEN_LIFETIME: Final = 60.0
"""Seconds after which a token file is read again (bound service account tokens are replaced at 80% of an hour)."""

_JSON: Final = "application/json"


class Transport:
    """One aiohttp session; made in, and bound to, the running event loop at the first request."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._credentials = credentials
        self._user_agent = user_agent
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._token, self._token_read = credentials.token, float("-inf")

    async def read(self, path: str, params: Mapping[str, str], *, limit: float = REQUEST_TIMEOUT) -> bytes:
        """GET, repeated where that helps.

        :param limit: seconds for each try
        :raises ApiError: typed, as the server answered
        :raises ApiUnreachableError: no answer, or a cut one
        """
        backoff = Backoff(0.2, 2.0)
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                return await self._once("GET", path, params, limit=limit)
            except (TooManyRequestsError, ServerError, ApiUnreachableError) as error:
                wait = max(getattr(error, "retry_after", 0.0), backoff.next())
                if attempt == READ_ATTEMPTS or wait > LONGEST_RETRY_AFTER:
                    raise
            await self._sleep(wait)
        raise AssertionError("unreachable")

    async def probe(self, path: str) -> bytes:
        """GET, once and soon: for questions whose answer is the server's health."""
        return await self._once("GET", path, {}, limit=CONNECT_TIMEOUT)

    async def write(
        self,
        verb: str,
        path: str,
        body: bytes,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        """POST, PUT, PATCH or DELETE; errors as `read`."""
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                return await self._once(verb, path, params or {}, body=body, content_type=content_type)
            except TooManyRequestsError as error:
                hopeless = attempt == WRITE_ATTEMPTS or error.disruption_budget
                if hopeless or not 0 < error.retry_after <= LONGEST_RETRY_AFTER:
                    raise
                wait = error.retry_after
            await self._sleep(wait)
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer without an end. There is no time limit between bytes: the reader must watch for silence."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        request = f"WATCH {path}"
        with _translated(request):
            async with asyncio.timeout(REQUEST_TIMEOUT) as until_headers:
                response = await self._started(limits, path, params)
                until_headers.reschedule(None)
        try:
            with _translated(request):
                if response.status != 200:
                    raise _refusal(response, await response.read(), request)
                yield response.content
        finally:
            await _abort(response)

    async def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)  # aborted TLS connections close their sockets in the loop's next turn

    async def _started(
        self, limits: aiohttp.ClientTimeout, path: str, params: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        url = self._credentials.server + path
        headers = await self._headers()
        return await self._open().get(url, params=params, headers=headers, timeout=limits, allow_redirects=False)

    async def _once(
        self,
        verb: str,
        path: str,
        params: Mapping[str, str],
        *,
        body: bytes | None = None,
        content_type: str = _JSON,
        limit: float = REQUEST_TIMEOUT,
    ) -> bytes:
        headers = await self._headers()
        if body is not None:
            headers["Content-Type"] = content_type
        limits = aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_TIMEOUT)
        url, request = self._credentials.server + path, f"{verb} {path}"
        with _translated(request):
            async with self._open().request(
                verb, url, params=params, data=body, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                answer = await response.read()
                if response.status >= 300:
                    raise _refusal(response, answer, request)
                return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._credentials.tls
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._session

    async def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Accept": _JSON, "Accept-Encoding": "identity"}
        if token := await self._current_token():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def _current_token(self) -> str:
        file = self._credentials.token_file
        if file is not None and time.monotonic() - self._token_read >= TOKEN_LIFETIME:
            try:
                self._token = (await asyncio.to_thread(file.read_text)).strip()
            except OSError as error:
                if not self._token:
                    message = f"token file {file}: {error.strerror}"
                    raise ApiUnreachableError(message) from error
            self._token_read = time.monotonic()
        return self._token


async def _abort(response: aiohttp.ClientResponse) -> None:
    """Drop the connection now: a peer that has fallen silent would not answer TLS' good-bye either."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
    await asyncio.sleep(0)


@contextlib.contextmanager
def _translated(request: str) -> Iterator[None]:
    """aiohttp's and the system's network errors as ours."""
    try:
        yield
    except ApiError:
        raise
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        text = str(error) or type(error).__name__
        raise ApiUnreachableError(text, request=request) from error


def _refusal(response: aiohttp.ClientResponse, body: bytes, request: str) -> ApiError:
    return error_from_response(
        response.status, body, request=request, retry_after=_seconds(response.headers.get("Retry-After", ""))
    )


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0
