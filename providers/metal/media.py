"""What hosts fetch and report: how they boot from the network, seeds on the way in, the proof of a wipe on the way out.

A small HTTP server. Each attempt has a token of its own that is good for one host and ends with the attempt, so the
wiping program of one host can't speak for another. Tokens live in this process only: after a restart an attempt begins
anew with another one.

- ``/seed/TOKEN.iso``: the seed as a volume for a virtual drive, which controllers read in pieces and more than once.
- ``/boot.ipxe``: where DHCP sends what boots from the network; it goes on with a script of its own address. That names
  the image and the seed as long as an attempt of this host is under way, and else sends it to its disk.
- ``/seed/TOKEN/user-data``, ``meta-data``: the seed for a machine that is up. It is given once: whoever comes second
  finds nothing, and if that was the host, its attempt fails and the next one has another token.
- ``/wiped/TOKEN``: where the proof is posted.

Limit: an address on the network can be claimed by others. The network that hosts boot from is one that tenants have no
access to.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from autonodes.core.errors import EnvironmentFault
from providers.metal.bmc import Media
from providers.metal.seeds import Seed

_MOST: Final = 64 * 1024
"""Bytes of a proof."""
_CHAIN: Final = "#!ipxe\nchain boot/${netX/mac:hexhyp}.ipxe || exit\n"
_TO_DISK: Final = "#!ipxe\nexit\n"


@dataclass(slots=True)
class _Attempt:
    """:param mac: of the interface that it boots from, "" if it boots from virtual media
    :param left: the files of its seed that nobody has fetched yet"""

    host: str
    mac: str
    media: Media
    volume: bytes = field(repr=False)
    left: dict[str, str] = field(repr=False)
    proof: Mapping[str, str] | None = None


class MediaServer:
    """:param url: as hosts and controllers reach this server; "" for the address that it listens on

    ``reported`` is called when a proof has come.
    """

    def __init__(self, host: str, port: int, url: str = "") -> None:
        self._host, self._port, self.url = host, port, url
        self._attempts: dict[str, _Attempt] = {}
        self._runner: web.AppRunner | None = None
        self.reported: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """:raises EnvironmentFault: the port is taken"""
        app = web.Application(client_max_size=_MOST)
        app.router.add_get("/boot.ipxe", self._chain)
        app.router.add_get("/boot/{mac}.ipxe", self._boot)
        app.router.add_get("/seed/{token}.iso", self._give)
        app.router.add_get("/seed/{token}/{name}", self._give_file)
        app.router.add_post("/wiped/{token}", self._take)
        self._runner = web.AppRunner(app, access_log=None)  # a log of tokens would be one of secrets
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise EnvironmentFault(f"{self._host}:{self._port}: {error.strerror}", "set media-address") from error
        self.url = self.url or f"http://{self._host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def offer(self, host: str, image: str, seed: Callable[[str], Seed], *, mac: str = "") -> Media:
        """Begin an attempt; the one before is over.

        :param image: URL of what is to be booted
        :param seed: makes its seed, given the URL to which a proof is to be posted
        """
        self.withdraw(host)
        token = secrets.token_urlsafe(32)
        made = seed(f"{self.url}/wiped/{token}")
        media = Media(image=image, seed_url=f"{self.url}/seed/{token}.iso", script=made.user_data)
        self._attempts[token] = _Attempt(host, mac, media, made.volume(), made.files())
        return media

    def expects(self, host: str) -> bool:
        """Whether this process began the attempt that is under way."""
        return self._token(host) is not None

    def proof(self, host: str) -> Mapping[str, str] | None:
        """What was reported, with the hash of its token as ``nonce``; None for nothing yet."""
        token = self._token(host)
        return self._attempts[token].proof if token else None

    def withdraw(self, host: str) -> None:
        self._attempts.pop(self._token(host) or "", None)

    def _token(self, host: str) -> str | None:
        return next((token for token, each in self._attempts.items() if each.host == host), None)

    async def _chain(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=_CHAIN)

    async def _boot(self, request: web.Request) -> web.Response:
        mac = request.match_info["mac"].lower().replace("-", ":")  # iPXE takes what is before a colon for a scheme
        for token, each in self._attempts.items():
            if each.mac == mac and "user-data" in each.left:
                seed = f"{self.url}/seed/{token}/"
                return web.Response(text=f"#!ipxe\nset seed-url {seed}\nchain {each.media.image} || exit\n")
        return web.Response(text=_TO_DISK)

    async def _give(self, request: web.Request) -> web.Response:
        volume = self._attempt(request).volume
        try:
            wanted = request.http_range
        except ValueError as error:
            raise web.HTTPRequestRangeNotSatisfiable from error
        start, stop, _ = wanted.indices(len(volume))
        headers = {"Accept-Ranges": "bytes"}
        if "Range" in request.headers:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(volume)}"
        return web.Response(
            status=206 if "Range" in request.headers else 200,
            body=volume[start:stop],
            content_type="application/octet-stream",
            headers=headers,
        )

    async def _give_file(self, request: web.Request) -> web.Response:
        text = self._attempt(request).left.pop(request.match_info["name"], None)
        if text is None:
            raise web.HTTPNotFound
        return web.Response(text=text)

    async def _take(self, request: web.Request) -> web.Response:
        attempt = self._attempt(request)
        with contextlib.suppress(ValueError):
            said = await request.json()
            if isinstance(said, dict) and said.get("level"):
                nonce = hashlib.sha256(request.match_info["token"].encode()).hexdigest()
                attempt.proof = {str(key): str(value) for key, value in said.items()} | {"nonce": nonce}
                self.reported()
                return web.Response(text="noted\n")
        raise web.HTTPBadRequest(text='write {"level": "full", "drive SERIAL": "how many bytes, how"}\n')

    def _attempt(self, request: web.Request) -> _Attempt:
        """:raises aiohttp.web.HTTPNotFound: it is over, or never was"""
        found = self._attempts.get(request.match_info["token"])
        if found is None:
            raise web.HTTPNotFound
        return found
