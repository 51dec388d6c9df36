"""A machine without internet finds that out once per host."""

import asyncio
import socket

import pytest

from autonodes.components import connections
from autonodes.components.connections import Connections, Unreachable
from autonodes.components.errors import DownloadFailed
from component_releases import Mirror


async def get(web: Connections, url: str) -> bytes:
    async with web.get(url) as answer:
        return await answer.read()


def test_a_mirror_has_hosts_as_folders() -> None:
    web = Connections(mirror="http://mirror.example:8080/base/")
    assert str(web.address("https://dl.k8s.io/release/x?y=1")) == "http://mirror.example:8080/base/dl.k8s.io/release/x"
    assert str(Connections().address("https://dl.k8s.io/release/x")) == "https://dl.k8s.io/release/x"


async def test_a_name_that_does_not_resolve_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def fail(host: str, port: int, family: int) -> OSError:
        looked_up.append(host)
        return socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(connections, "_addresses", fail)
    async with Connections() as web:
        urls = [f"https://a.example/{n}" for n in range(5)] + ["https://b.example/"]
        results = await asyncio.gather(*(get(web, url) for url in urls), return_exceptions=True)
    assert all(isinstance(result, Unreachable) for result in results)
    assert "https://a.example does not answer" in str(results[0])
    assert sorted(looked_up) == ["a.example", "b.example"]


async def test_a_name_server_that_hangs_costs_no_more_than_the_connect_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import threading

    never = threading.Event()
    monkeypatch.setattr(connections, "_addresses", lambda *_: never.wait() or OSError())
    async with Connections(connect_s=0.1) as web:
        with pytest.raises(Unreachable):
            await get(web, "https://a.example/")
    never.set()


async def test_a_closed_port_is_an_unreachable_host() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with Connections(mirror=f"http://127.0.0.1:{closed.getsockname()[1]}") as web:
            with pytest.raises(Unreachable, match="check the connection"):
                await get(web, "https://a.example/")


async def test_a_host_that_answered_once_is_not_given_up_for_one_bad_answer(mirror: Mirror) -> None:
    mirror.bodies["/a.example/good"] = b"yes"
    async with Connections(mirror=mirror.url) as web:
        with pytest.raises(DownloadFailed, match="404"):
            await get(web, "https://a.example/bad")
        assert await get(web, "https://a.example/good") == b"yes"
