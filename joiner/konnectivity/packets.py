"""Konnectivity's packets: bytes to values and back.

Nearly every packet is DATA, so those are read and written by hand, without protobuf and with one copy; whatever does
not have the exact layout that every protobuf library writes (type, then payload; connect_id, then data) goes through
protobuf like the other types. The tests hold the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from joiner.konnectivity.pb import konnectivity_pb2 as pb

DATA_OVERHEAD: Final = 32
"""Bytes; no DATA packet is longer than its payload and this."""

_DATA_START: Final = b"\x08\x04\x22"  # field 1 (type) = DATA, then field 4 (data), length-delimited
_CONNECT_ID: Final = 0x08  # field 1, varint
_DATA: Final = 0x1A  # field 3, length-delimited
_SIGN: Final = 1 << 63
_WRAP: Final = 1 << 64


class MalformedPacketError(Exception):
    """Bytes that are no packet: the peer speaks something else, so its stream can't be used any more."""


@dataclass(frozen=True, slots=True)
class Data:
    """``payload`` may be a view into the packet that was received."""

    connection: int
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class DialRequest:
    """``random`` is the dial's identity; ``address`` is ``host:port``."""

    random: int
    address: str
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class DialResponse:
    """``error`` empty: ``connection`` is open."""

    random: int
    connection: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Ends both directions of ``connection``."""

    connection: int


@dataclass(frozen=True, slots=True)
class CloseResponse:
    """``connection`` is no more."""

    connection: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class CloseDial:
    """The dial ``random`` is given up."""

    random: int


@dataclass(frozen=True, slots=True)
class Drain:
    """The agent takes no new dials if another one can."""


@dataclass(frozen=True, slots=True)
class Window:
    """``size`` more bytes are welcome on ``connection``."""

    connection: int
    size: int


@dataclass(frozen=True, slots=True)
class EndOfData:
    """No more data from this side."""

    connection: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A type that a later protocol may have; to be skipped."""

    type: int


Packet = (
    Data | DialRequest | DialResponse | CloseRequest | CloseResponse | CloseDial | Drain | Window | EndOfData | Unknown
)


def encode_data(connection: int, payload: bytes | bytearray | memoryview) -> bytes:
    """A DATA packet; the one copy of the payload is made here.

    :param connection: positive
    """
    if not payload:
        return encode(Data(connection, b""))
    inner = b"\x08" + _varint(connection) + b"\x1a" + _varint(len(payload))
    return b"".join((_DATA_START, _varint(len(inner) + len(payload)), inner, payload))


def encode(packet: Packet) -> bytes:
    """The packet as it goes over the wire."""
    message = pb.Packet()
    match packet:
        case Data(connection, payload):
            message.type = pb.DATA
            message.data.connect_id, message.data.data = connection, bytes(payload)
        case DialRequest(random, address, protocol):
            message.type = pb.DIAL_REQ
            request = message.dial_request
            request.random, request.address, request.protocol = random, address, protocol
        case DialResponse(random, connection, error):
            message.type = pb.DIAL_RSP
            response = message.dial_response
            response.random, response.connect_id, response.error = random, connection, error
        case CloseRequest(connection):
            message.type, message.close_request.connect_id = pb.CLOSE_REQ, connection
        case CloseResponse(connection, error):
            message.type = pb.CLOSE_RSP
            message.close_response.connect_id, message.close_response.error = connection, error
        case CloseDial(random):
            message.type, message.close_dial.random = pb.DIAL_CLS, random
        case Window(connection, size):
            message.type = pb.WINDOW
            message.window.connect_id, message.window.bytes = connection, size
        case EndOfData(connection):
            message.type, message.end_of_data.connect_id = pb.END_OF_DATA, connection
        case Drain():
            message.type = pb.DRAIN
            message.drain.SetInParent()
        case Unknown(number):
            message.type = number
    return bytes(message.SerializeToString())


def decode(raw: bytes) -> Packet:
    """The packet in ``raw``; a DATA payload is a view into it, not a copy.

    :raises MalformedPacketError: not a packet
    """
    if raw.startswith(_DATA_START):
        data = _decode_data(raw)
        if data is not None:
            return data
    return _decode_any(raw)


def _decode_data(raw: bytes) -> Data | None:
    try:
        size, position = _read_varint(raw, len(_DATA_START))
        if position + size != len(raw) or raw[position] != _CONNECT_ID:
            return None
        connection, position = _read_varint(raw, position + 1)
        if raw[position] != _DATA:
            return None
        size, position = _read_varint(raw, position + 1)
    except IndexError:
        return None
    if position + size != len(raw) or connection >= _SIGN:
        return None
    return Data(connection, memoryview(raw)[position:])


def _decode_any(raw: bytes) -> Packet:
    try:
        message = pb.Packet.FromString(raw)
    except DecodeError as error:
        raise MalformedPacketError(f"{len(raw)} bytes that are no Konnectivity packet") from error
    reader = _READERS.get(message.type)
    return reader(message) if reader else Unknown(int(message.type))


_READERS: Final[dict[int, Any]] = {
    pb.DIAL_REQ: lambda m: DialRequest(m.dial_request.random, m.dial_request.address, m.dial_request.protocol),
    pb.DIAL_RSP: lambda m: DialResponse(m.dial_response.random, m.dial_response.connect_id, m.dial_response.error),
    pb.CLOSE_REQ: lambda m: CloseRequest(m.close_request.connect_id),
    pb.CLOSE_RSP: lambda m: CloseResponse(m.close_response.connect_id, m.close_response.error),
    pb.DATA: lambda m: Data(m.data.connect_id, m.data.data),
    pb.DIAL_CLS: lambda m: CloseDial(m.close_dial.random),
    pb.DRAIN: lambda m: Drain(),
    pb.WINDOW: lambda m: Window(m.window.connect_id, m.window.bytes),
    pb.END_OF_DATA: lambda m: EndOfData(m.end_of_data.connect_id),
}


def _varint(value: int) -> bytes:
    value %= _WRAP
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _read_varint(raw: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` and the position after it. Of ten groups at most, as protobuf has it."""
    value = shift = 0
    while True:
        group = raw[position]
        position += 1
        value |= (group & 0x7F) << shift
        if group < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError(position)
