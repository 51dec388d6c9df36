from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.machine.order import File, Network, Order, Process

ORDERS = st.builds(
    Order,
    files=st.lists(st.builds(File, path=st.text(), content=st.binary(), mode=st.integers(0, 0o777))).map(tuple),
    processes=st.lists(
        st.builds(
            Process,
            name=st.text(),
            argv=st.lists(st.text()).map(tuple),
            env=st.dictionaries(st.text(), st.text()),
            ready_socket=st.none() | st.text(),
        )
    ).map(tuple),
    network=st.builds(Network),
)


@given(ORDERS)
def test_an_order_arrives_as_it_was_sent(order: Order) -> None:
    assert Order.decode(order.encode()) == order


@given(ORDERS, st.data())
def test_an_order_that_was_cut_off_is_refused(order: Order, data: st.DataObject) -> None:
    document = order.encode()
    length = data.draw(st.integers(0, len(document) - 1))
    with pytest.raises(json.JSONDecodeError):
        Order.decode(document[:length])


def test_secrets_are_not_in_an_orders_text() -> None:
    assert "hush" not in repr(File(path="/x", content=b"hush", mode=0o600))
