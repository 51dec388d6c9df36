"""Shrinking keeps what fails, and little else."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from autonodes.verify.shrinking import shrunk


@given(st.integers(1, 60), st.data())
async def test_what_remains_is_exactly_what_is_needed_if_there_is_time(size: int, data: st.DataObject) -> None:
    needed = set(data.draw(st.lists(st.integers(0, size - 1), max_size=4)))

    async def fails(part: Sequence[int]) -> bool:
        return needed <= set(part)

    assert set(await shrunk(range(size), fails, tries=10_000)) == needed


@given(st.integers(0, 20))
async def test_what_remains_fails_however_little_time_there_is(tries: int) -> None:
    asked = 0

    async def fails(part: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return {3, 17, 40} <= set(part)

    assert {3, 17, 40} <= set(await shrunk(range(50), fails, tries=tries))
    assert asked <= tries
