from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autonodes.cli import ports
from autonodes.core.errors import EnvironmentFault

LOOPBACK = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_preferred_port_is_taken_if_it_is_free_and_else_one_above(taken: int) -> None:
    free = ports.free_port(taken, address=LOOPBACK)
    assert free > taken
    assert ports.free_port(free, address=LOOPBACK) == free


def test_a_port_that_is_reserved_is_passed_over_though_nobody_listens(taken: int) -> None:
    free = ports.free_port(taken, address=LOOPBACK)
    assert ports.free_port(free, address=LOOPBACK, reserved={free}) > free


def test_a_taken_port_is_told_with_its_process(taken: int) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    with pytest.raises(EnvironmentFault, match=f"port {taken}") as raised:
        ports.check_free(taken, address=LOOPBACK, remedy="choose another")
    assert f"{name} (pid {os.getpid()})" in raised.value.problem
    assert raised.value.remedy == "choose another"


def test_a_listener_on_every_address_takes_the_port_too(taken: int) -> None:
    assert not ports.is_free(taken, address="0.0.0.0")  # noqa: S104


def test_no_process_is_named_for_a_free_port(taken: int) -> None:
    assert ports.owner(ports.free_port(taken, address=LOOPBACK)) is None
