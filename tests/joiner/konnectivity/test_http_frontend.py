"""HTTP CONNECT on the unix socket, with what a TCP connection can do and a packet protocol easily forgets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat

import pytest

from joiner.konnectivity.http_frontend import HEAD_LIMIT
from konnectivity import Site, Tunnel, echo, gauge, http_connect, target, until


async def test_data_goes_there_and_back(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    sent = bytes(range(256)) * 20_000
    async with target(echo) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_the_end_of_the_clients_data_reaches_the_target_and_the_answer_still_comes(
    site: Site, tunnel: Tunnel
) -> None:
    await tunnel.add_agent()

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got %d" % len(await reader.read(-1)))
        writer.close()

    async with target(answer_at_the_end) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.write(bytes(3_000_000))
        writer.write_eof()
        assert await reader.read(-1) == b"got 3000000"
        writer.close()
    await until(lambda: tunnel.connections == 0)


async def test_the_end_of_the_targets_data_reaches_the_client_which_may_go_on(
    site: Site, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joiner.konnectivity.link.SWEEP", 1e6)  # both ends are enough, nobody has to look for them
    await tunnel.add_agent()
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read(-1))
        writer.close()

    async with target(greet_then_listen) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        assert await reader.read(-1) == b"hello"
        writer.write(b"and more")
        writer.write_eof()
        assert await heard == b"and more"
        await until(lambda: tunnel.connections == 0)
        writer.close()


async def test_data_sent_just_before_a_close_arrives(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(len(await reader.read(-1)))
        writer.close()

    async with target(count) as port:
        _, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.write(bytes(5_000_000))
        writer.close()
        await writer.wait_closed()
        assert await heard == 5_000_000
    await until(lambda: tunnel.connections == 0)


async def test_a_client_that_closes_closes_the_target(site: Site, tunnel: Tunnel) -> None:
    agent = await tunnel.add_agent()
    gone = asyncio.Event()

    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()
        writer.close()

    async with target(chatter) as port:
        _, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        writer.close()
        await gone.wait()
    await until(lambda: tunnel.connections == 0 and not any(link.connections for link in agent.links.values()))


async def test_a_target_that_resets_ends_the_connection_after_its_data(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        await reader.readexactly(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    async with target(reset) as port:
        reader, writer = await http_connect(site.http_connect_uds, f"node-1:{port}")
        assert await reader.readexactly(10) == b"last words"
        writer.write(b"x")
        assert await reader.read(-1) == b""
        writer.close()
    await until(lambda: tunnel.connections == 0)


async def test_bytes_sent_with_the_request_belong_to_the_connection(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    async with target(echo) as port:
        reader, writer = await asyncio.open_unix_connection(str(site.http_connect_uds))
        writer.write(f"CONNECT node-1:{port} HTTP/1.1\r\nHost: x\r\n\r\nearly".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b" bird")
        assert await reader.readexactly(10) == b"early bird"
        writer.close()


async def test_errors_are_in_the_status_line(site: Site, tunnel: Tunnel) -> None:
    with pytest.raises(ConnectionError, match="503 node 'node-2' has no konnectivity agent connected"):
        await http_connect(site.http_connect_uds, "node-2:10250")
    await tunnel.add_agent()
    with pytest.raises(ConnectionError, match="503 dial node-1:1: "):
        await http_connect(site.http_connect_uds, "node-1:1")
    with pytest.raises(ConnectionError, match=r"503 .* is not host:port"):
        await http_connect(site.http_connect_uds, "node-1")


async def test_only_the_owner_may_connect(site: Site, tunnel: Tunnel) -> None:
    for path in (site.http_connect_uds, site.uds):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_it_answers_its_supervisor(site: Site, tunnel: Tunnel) -> None:
    await tunnel.add_agent()
    reader, writer = await asyncio.open_unix_connection(str(site.http_connect_uds))
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    assert await asyncio.to_thread(gauge, site, "konnectivity_agents") == 1


@pytest.mark.parametrize("request_", [b"POST / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"CONNECT\r\n\r\n", b"\0\xff \r\n\r\n"])
async def test_other_requests_are_refused(site: Site, tunnel: Tunnel, request_: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(site.http_connect_uds))
    writer.write(request_)
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 405 ")
    writer.close()


@pytest.mark.parametrize("request_", [b"", b"CONNECT node-1:80", b"x" * (3 * HEAD_LIMIT)])
async def test_a_request_that_never_ends_is_dropped(site: Site, tunnel: Tunnel, request_: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(site.http_connect_uds))
    writer.write(request_)
    writer.write_eof()
    with contextlib.suppress(ConnectionResetError):  # bytes were left unread
        assert await reader.read(-1) == b""
    writer.close()


async def test_a_stale_socket_is_replaced(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(site.http_connect_uds))
    async with Tunnel.open(site) as tunnel:
        await tunnel.add_agent()
    assert not site.http_connect_uds.exists()
