import pytest

from autonodes.core.hostports import conflict, first_conflict, format_port
from autonodes.core.model import HostPort


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (HostPort(80), HostPort(80), True),
        (HostPort(80), HostPort(81), False),
        (HostPort(80), HostPort(80, "UDP"), False),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80, "TCP", "10.0.0.2"), False),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80), True),
        (HostPort(80, "TCP", "::"), HostPort(80, "TCP", "fd00::1"), True),
        (HostPort(80, "TCP", ""), HostPort(80, "", "10.0.0.1"), True),
    ],
)
def test_a_port_is_taken_for_its_address_and_protocol(one: HostPort, other: HostPort, expected: bool) -> None:
    assert conflict(one, other) == conflict(other, one) == expected


def test_the_first_port_that_can_not_be_had_is_named() -> None:
    wanted = [HostPort(443), HostPort(80)]
    assert first_conflict(wanted, [HostPort(80)]) == HostPort(80)
    assert first_conflict(wanted, []) is None
    assert format_port(HostPort(80)) == "0.0.0.0:80/TCP"
