from __future__ import annotations

from autonodes.kube.interning import Interner


def test_equal_values_become_one_object() -> None:
    interner = Interner()
    first, second = interner.strings({"a": "b"}), interner.strings({"a": "b"})
    assert first is second
    assert interner.value(tuple("ab")) is interner.value(tuple("ab"))
    assert interner.numbers({"a": 1}) is interner.numbers({"a": 1})


def test_nothing_is_shared_as_nothing() -> None:
    assert Interner().strings(None) is Interner().strings({})


def test_numbers_and_strings_do_not_meet() -> None:
    interner = Interner()
    assert interner.numbers({}) == interner.strings({}) == {}
    assert interner.value(()) == ()


def test_the_table_is_bounded_and_forgetting_changes_no_value() -> None:
    interner = Interner(capacity=3)
    values = [interner.strings({"n": str(index)}) for index in range(10)]
    assert [value["n"] for value in values] == [str(index) for index in range(10)]
    assert len(interner._known) <= 3
