"""How an agent reaches targets."""

from __future__ import annotations

import socket

import pytest

from joiner.konnectivity.dialing import NodeDialer, is_ip, split_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("node-1:10250", ("node-1", 10250)),
        ("10.0.0.1:443", ("10.0.0.1", 443)),
        ("[fd00::1]:443", ("fd00::1", 443)),
    ],
)
def test_addresses_are_split_into_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", "node-1", ":80", "node-1:", "node-1:http", "node-1:0", "node-1:65536", "a:-1"])
def test_what_is_not_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(address)


def test_names_are_no_addresses() -> None:
    assert is_ip("10.0.0.1")
    assert is_ip("::1")
    assert not is_ip("node-1")
    assert not is_ip("10.0.0")


async def connects(dialer: NodeDialer, host: str, listener: socket.socket) -> str:
    """Where the dial arrived."""
    dialed = await dialer(f"{host}:{listener.getsockname()[1]}")
    with dialed, listener.accept()[0] as accepted:
        return str(accepted.getsockname()[0])


async def test_the_nodes_own_name_is_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await connects(NodeDialer("node-1"), "node-1", listener) == "127.0.0.1"


async def test_the_nodes_ip_is_the_second_choice() -> None:
    with socket.create_server(("127.0.0.9", 0)) as listener:
        assert await connects(NodeDialer("node-1", "127.0.0.9"), "node-1", listener) == "127.0.0.9"


async def test_other_names_are_resolved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await connects(NodeDialer("node-1"), "localhost", listener) == "127.0.0.1"


async def test_a_literal_v6_address_is_dialled() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert await connects(NodeDialer("node-1"), "[::1]", listener) == "::1"


@pytest.mark.parametrize("address", ["node-1", "127.0.0.1:1", "node-1:1", "x" * 70 + ":80"])
async def test_what_cannot_be_reached_is_an_oserror(address: str) -> None:
    with pytest.raises(OSError, match=r"."):
        await NodeDialer("node-1")(address)
