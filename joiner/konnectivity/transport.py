"""Names and options that both ends of an agent's stream share."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import grpc

from joiner.konnectivity.packets import MalformedPacketError

AGENT_METHOD: Final = "/AgentService/Connect"
PROXY_SERVICE: Final = "ProxyService"
AGENT_SERVICE: Final = "AgentService"

# Metadata of the agent's call, and of the answer; upstream's names, in gRPC's lower case.
AGENT_ID: Final = "agentid"
AGENT_IDENTIFIERS: Final = "agentidentifiers"
AUTHORIZATION: Final = "authorization"
SERVER_ID: Final = "serverid"
SERVER_COUNT: Final = "servercount"
WINDOW: Final = "autonodes-window"
"""This project's own: the bytes that the sender holds for one connection before it wants the peer to wait. A peer that
does not send it (upstream's) gets no WINDOW and no END_OF_DATA."""

STREAM_ERRORS: Final = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError, MalformedPacketError)
"""What reading or writing a stream raises when it is at its end. (Cancellation is no error.)"""

AUDIENCE: Final = "system:konnectivity-server"
"""The audience of an agent's service account token, as upstream's manifests ask for it."""

DEFAULT_WINDOW: Final = 2 << 20
"""Bytes. Bounds the memory of a stalled connection, and the speed of one to a window per round trip: 100 MB/s at 20 ms.
"""

CHUNK: Final = 256 << 10
"""Bytes of the largest DATA packet that is sent. A message costs gRPC in Python 60 to 150 µs whatever its size, so that
one stream moves 200 MB/s in messages of 16 KiB and 600 in those of 256 KiB; larger ones only make others wait longer.
"""

RECORD: Final = 8 << 10
"""Bytes from which on a piece looks like a part of more: most of a TLS record."""
MERGED: Final = 128 << 10
"""Bytes for which no more are waited for."""
MERGE_DELAY: Final = 0.001
"""Seconds that are waited for more. At 80 MB/s, in pieces of 32 KiB, that halves what the tunnel costs; a small piece
never waits."""


def server_options() -> list[tuple[str, int | str]]:
    """For both of the server's listeners.

    Pings find an agent that is gone without a word; pings from the agents are welcome at any rate (gRPC's default
    answers more than one in 5 min with GOAWAY).
    """
    return [
        *_common_options(),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.so_reuseport", 0),
        *_keepalive(20.0),
    ]


def agent_options(keepalive: float) -> list[tuple[str, int | str]]:
    """For the agent's channel.

    A subchannel pool of its own: otherwise a new channel inherits the connection backoff of its predecessor.

    :param keepalive: seconds between pings
    """
    return [*_common_options(), ("grpc.use_local_subchannel_pool", 1), *_keepalive(keepalive)]


def _common_options() -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_receive_message_length", 4 << 20),
        ("grpc.max_send_message_length", 4 << 20),
    ]


def _keepalive(seconds: float) -> list[tuple[str, int | str]]:
    return [
        ("grpc.keepalive_time_ms", int(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


class PacketStream(Protocol):
    """A bidirectional gRPC stream of undecoded packets: a call on the client's side, a context on the server's."""

    async def read(self) -> object:
        """The next message, or ``grpc.aio.EOF``."""
        ...

    async def write(self, message: bytes) -> None:
        """Return when HTTP/2 flow control has let ``message`` go."""
        ...
