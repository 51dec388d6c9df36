from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from autonodes.cli.uplinks import RANGE, choose_uplink, host_address


@given(st.text(min_size=1))
def test_a_link_is_a_small_network_of_its_range_and_always_the_same(key: str) -> None:
    link = ipaddress.IPv4Network(choose_uplink(key, taken=()))
    assert link.prefixlen == 30
    assert link.subnet_of(RANGE)
    assert choose_uplink(key, taken=()) == str(link)


@given(st.text(min_size=1), st.integers(min_value=1, max_value=5))
def test_a_link_that_is_taken_is_passed_over(key: str, count: int) -> None:
    taken: list[str] = []
    for _ in range(count):
        taken.append(choose_uplink(key, taken=taken))
    assert len(set(taken)) == count


def test_this_machine_has_the_first_address() -> None:
    assert host_address("100.64.0.4/30") == "100.64.0.5"
