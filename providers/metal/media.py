"""What hosts fetch and report: seeds on the way in, the proof of a wipe on the way out.

A small HTTP server. Each attempt has a token of its own that is good for one host and ends with the attempt, so the
wiping program of one host can't speak for another. Tokens live in this process only: after a restart an attempt begins
anew with another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from autonodes.core.errors import EnvironmentFault

_MOST: Final = 64 * 1024
"""Bytes of a proof."""


class Media:
    """:param url: as hosts and controllers reach this server; "" for the address that it listens on

    ``reported`` is called when a proof has come.
    """

    def __init__(self, host: str, port: int, url: str = "") -> None:
        self._host, self._port, self.url = host, port, url
        self._seeds: dict[str, bytes] = {}
        self._tokens: dict[str, str] = {}
        self._proofs: dict[str, Mapping[str, str]] = {}
        self._runner: web.AppRunner | None = None
        self.reported: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """:raises EnvironmentFault: the port is taken"""
        app = web.Application(client_max_size=_MOST)
        app.router.add_get("/seed/{token}.iso", self._give)
        app.router.add_post("/wiped/{token}", self._take)
        self._runner = web.AppRunner(app, access_log=None)  # a log of tokens would be one of secrets
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise EnvironmentFault(f"{self._host}:{self._port}: {error.strerror}", "set media-port") from error
        self.url = self.url or f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def offer(self, host: str, seed: Callable[[str], bytes]) -> str:
        """Begin an attempt; the one before is over.

        :param seed: makes its seed, given the URL to which a proof is to be posted
        :return: the URL of the seed
        """
        self.withdraw(host)
        token = self._tokens[host] = secrets.token_urlsafe(32)
        self._seeds[token] = seed(f"{self.url}/wiped/{token}")
        return f"{self.url}/seed/{token}.iso"

    def expects(self, host: str) -> bool:
        """Whether this process began the attempt that is under way."""
        return host in self._tokens

    def proof(self, host: str) -> Mapping[str, str] | None:
        """What was reported, with the hash of its token as ``nonce``; None for nothing yet."""
        return self._proofs.get(self._tokens.get(host, ""))

    def withdraw(self, host: str) -> None:
        token = self._tokens.pop(host, "")
        self._seeds.pop(token, None)
        self._proofs.pop(token, None)

    async def _give(self, request: web.Request) -> web.Response:
        seed = self._seeds.get(request.match_info["token"])
        if seed is None:
            raise web.HTTPNotFound
        return web.Response(body=seed, content_type="application/octet-stream")

    async def _take(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        if token not in self._tokens.values():
            raise web.HTTPNotFound
        with contextlib.suppress(ValueError):
            said = await request.json()
            if isinstance(said, dict) and said.get("level"):
                nonce = hashlib.sha256(token.encode()).hexdigest()
                self._proofs[token] = {str(key): str(value) for key, value in said.items()} | {"nonce": nonce}
                self.reported()
                return web.Response(text="noted\n")
        raise web.HTTPBadRequest(text='write {"level": "full", "drive SERIAL": "how many bytes, how"}\n')
