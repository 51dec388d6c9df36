from __future__ import annotations

import random

from autonodes.kube.backoff import Backoff


def test_delays_double_up_to_the_limit_and_start_over() -> None:
    backoff = Backoff(1.0, 8.0, random_source=random.Random(7))  # noqa: S311 -- jitter
    ranges = [1.0, 2.0, 4.0, 8.0, 8.0]
    for top in ranges:
        assert top / 2 <= backoff.next() <= top
    backoff.reset()
    assert backoff.next() <= 1.0


def test_two_clients_do_not_come_back_together() -> None:
    assert Backoff(1.0, 8.0).next() != Backoff(1.0, 8.0).next()
