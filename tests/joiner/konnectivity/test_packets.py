"""The hand-written codec against protobuf's, and both against any packet there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joiner.konnectivity.packets import (
    DATA_OVERHEAD,
    CloseDial,
    CloseRequest,
    CloseResponse,
    Data,
    DialRequest,
    DialResponse,
    Drain,
    EndOfData,
    MalformedPacketError,
    Packet,
    Unknown,
    Window,
    decode,
    encode,
    encode_data,
)
from joiner.konnectivity.pb import konnectivity_pb2 as pb

numbers = st.integers(-(2**63), 2**63 - 1)
connections = st.integers(1, 2**63 - 1)
texts = st.text(max_size=40)
payloads = st.binary(max_size=300) | st.integers(0, 70_000).map(bytes)

packets = st.one_of(
    st.builds(DialRequest, numbers, texts, texts),
    st.builds(DialResponse, numbers, numbers, texts),
    st.builds(CloseRequest, numbers),
    st.builds(CloseResponse, numbers, texts),
    st.builds(CloseDial, numbers),
    st.just(Drain()),
    st.builds(Window, numbers, numbers),
    st.builds(EndOfData, numbers),
    st.builds(Unknown, st.integers(7, 63)),
)


@given(packets)
def test_what_is_encoded_is_decoded_to_the_same(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(connections, payloads)
def test_data_is_written_as_protobuf_writes_it(connection: int, payload: bytes) -> None:
    message = pb.Packet(type=pb.DATA, data=pb.Data(connect_id=connection, data=payload))
    assert encode_data(connection, payload) == message.SerializeToString()
    assert len(encode_data(connection, payload)) <= len(payload) + DATA_OVERHEAD


@given(numbers, payloads)
def test_data_is_read_as_protobuf_reads_it(connection: int, payload: bytes) -> None:
    packet = decode(pb.Packet(type=pb.DATA, data=pb.Data(connect_id=connection, data=payload)).SerializeToString())
    assert isinstance(packet, Data)
    assert (packet.connection, bytes(packet.payload)) == (connection, payload)


@given(connections, payloads)
def test_data_in_another_order_of_fields_is_read_too(connection: int, payload: bytes) -> None:
    data_first = pb.Data(data=payload).SerializeToString() + pb.Data(connect_id=connection).SerializeToString()
    outer = pb.Packet(data=pb.Data.FromString(data_first)).SerializeToString() + pb.Packet(type=4).SerializeToString()
    packet = decode(outer)
    assert isinstance(packet, Data)
    assert (packet.connection, bytes(packet.payload)) == (connection, payload)


def test_data_with_an_error_text_keeps_its_data() -> None:
    packet = decode(pb.Packet(type=pb.DATA, data=pb.Data(connect_id=1, error="e", data=b"abc")).SerializeToString())
    assert packet == Data(1, b"abc")


def test_a_payload_is_a_view_not_a_copy() -> None:
    packet = decode(encode_data(1, bytes(1000)))
    assert isinstance(packet, Data)
    assert isinstance(packet.payload, memoryview)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_refused(raw: bytes) -> None:
    try:
        decode(raw)
    except MalformedPacketError:
        with pytest.raises(Exception):  # noqa: B017, PT011 -- protobuf's own
            pb.Packet.FromString(raw)


@given(st.binary(max_size=60))
def test_any_bytes_that_look_like_data_are_read_as_protobuf_reads_them(rest: bytes) -> None:
    raw = b"\x08\x04\x22" + rest
    try:
        expected = pb.Packet.FromString(raw)
    except Exception:
        with pytest.raises(MalformedPacketError):
            decode(raw)
        return
    packet = decode(raw)
    if isinstance(packet, Data):
        assert (packet.connection, bytes(packet.payload)) == (expected.data.connect_id, expected.data.data)


def test_numbers_of_upstream_are_upstreams() -> None:
    numbers = [pb.DIAL_REQ, pb.DIAL_RSP, pb.CLOSE_REQ, pb.CLOSE_RSP, pb.DATA, pb.DIAL_CLS, pb.DRAIN]
    assert numbers == list(range(7))
    fields = {field.name: field.number for field in pb.Packet.DESCRIPTOR.fields}
    assert fields == {
        "type": 1,
        "dial_request": 2,
        "dial_response": 3,
        "data": 4,
        "close_request": 5,
        "close_response": 6,
        "close_dial": 7,
        "drain": 8,
        "window": 64,
        "end_of_data": 65,
    }
