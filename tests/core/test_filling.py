from hypothesis import given
from hypothesis import strategies as st

from autonodes.core.filling import Item, fillings

items = st.builds(
    Item,
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any),
    st.floats(0, 10),
    st.sampled_from([None, None, None, 1, 2]),
    st.booleans(),
)


@given(st.tuples(st.integers(-2, 60), st.integers(0, 60)), st.lists(st.tuples(items, st.integers(1, 30)), max_size=8))
def test_a_filling_fits_and_leaves_no_room_for_another_pod(
    room: tuple[int, int], offered: list[tuple[Item, int]]
) -> None:
    kinds, waiting = [item for item, _ in offered], [count for _, count in offered]
    for counts in fillings(room, kinds, waiting):
        left = [
            room[place] - sum(kind.size[place] * count for kind, count in zip(kinds, counts, strict=True))
            for place in (0, 1)
        ]
        assert all(0 <= count <= most for count, most in zip(counts, waiting, strict=True))
        assert min(left) >= min(0, *room)
        for kind, count, most in zip(kinds, counts, waiting, strict=True):
            most = most if kind.most is None else min(most, kind.most)
            assert count <= most
            assert count == most or any(need > rest for need, rest in zip(kind.size, left, strict=True))


def test_taking_a_share_of_all_keeps_the_mixture() -> None:
    kinds = [Item((3, 1), 1.0), Item((1, 3), 1.0)]
    assert [10, 10] in list(fillings((40, 40), kinds, [100, 100]))


def test_what_needs_a_device_goes_first() -> None:
    """Else the pod without one would take the CPU that the GPU needs beside it."""
    kinds = [Item((4, 0), 9.0), Item((4, 1), 1.0, first=True)]
    assert list(fillings((4, 1), kinds, [1, 1])) == [[0, 1]]
