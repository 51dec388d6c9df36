from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonodes.provider import ProviderError
from providers.local.lan import GATEWAY, RANGE, Lan, address_of

UIDS = st.uuids().map(str)


class Everything:
    """A container that contains whatever it is asked for."""

    def __contains__(self, item: object) -> bool:
        return True

    def __iter__(self) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        return RANGE.num_addresses


@given(UIDS)
def test_the_address_of_a_claim_is_always_the_same_and_a_machines(uid: str) -> None:
    address = ipaddress.IPv4Address(address_of(uid, ()))
    assert str(address) == address_of(uid, ())
    assert address in RANGE
    assert address not in (RANGE.network_address, GATEWAY, RANGE.broadcast_address)


@given(UIDS, st.integers(1, 5))
def test_an_address_that_is_taken_is_not_given_again(uid: str, others: int) -> None:
    taken: set[str] = set()
    for _ in range(others):
        taken.add(address_of(uid, taken))
    assert len(taken) == others


def test_a_full_lan_is_an_error() -> None:
    with pytest.raises(ProviderError, match="no address is free"):
        address_of("some-uid", Everything())  # type: ignore[arg-type]


def test_names_of_links_are_short_enough_for_linux() -> None:
    lan = Lan(Path("/pin"), key="0" * 8, uplink="100.64.0.0/30", egress=False)
    network = lan.network("10.88.255.254")
    assert max(len(network.port), len(lan.link)) <= 15
    assert network.mac == "0a:58:0a:58:ff:fe"
    assert network.address == "10.88.255.254/16"
