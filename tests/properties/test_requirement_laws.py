"""One test a law. What a requirement means is given by `has`; everything else must agree with that."""

from hypothesis import assume, given
from hypothesis import strategies as st

from autonodes.core.requirements import Requirement, Requirements
from properties.requirement_strategies import KEYS, SAMPLES, combined, expressions, labels, many

samples = st.one_of(st.none(), st.sampled_from(SAMPLES))
same_key = combined()


@given(same_key, same_key, samples)
def test_an_intersection_has_what_both_have(one: Requirement, other: Requirement, value: str | None) -> None:
    assert (one & other).has(value) == (one.has(value) and other.has(value))


@given(same_key, same_key)
def test_intersection_commutes(one: Requirement, other: Requirement) -> None:
    assert one & other == other & one
    assert hash(one & other) == hash(other & one)


@given(same_key, same_key, same_key)
def test_intersection_associates(one: Requirement, two: Requirement, three: Requirement) -> None:
    assert (one & two) & three == one & (two & three)


@given(same_key)
def test_intersection_is_idempotent(one: Requirement) -> None:
    assert one & one == one


@given(same_key)
def test_anything_is_neutral_and_nothing_absorbs(one: Requirement) -> None:
    assert one & Requirement.anything("a") == one
    assert (one & Requirement.nothing("a")).empty


@given(same_key, same_key)
def test_overlap_is_a_nonempty_intersection(one: Requirement, other: Requirement) -> None:
    assert one.overlaps(other) == (not (one & other).empty)


@given(same_key, same_key)
def test_requirements_that_differ_can_be_told_apart_by_a_value(one: Requirement, other: Requirement) -> None:
    assume((one.min_values, one != other) == (other.min_values, True))
    witnesses = (*SAMPLES, None, *_witnesses(one, other))
    assert any(one.has(value) != other.has(value) for value in witnesses)


def _witnesses(*requirements: Requirement) -> list[str]:
    """Numbers at the bounds, each written with leading zeros, too: its plain name may be excluded."""
    bounds = [bound for each in requirements for bound in (each.at_least, each.at_most) if bound is not None]
    numbers = [bound + step for bound in bounds for step in (-1, 0, 1)]
    return [f"{'-' if number < 0 else ''}{zeros}{abs(number)}" for number in numbers for zeros in ("", "0", "00")]


@given(same_key, same_key, samples)
def test_a_subset_has_nothing_that_the_other_has_not(one: Requirement, other: Requirement, value: str | None) -> None:
    assert not (one & other).has(value) or one.has(value)
    if one.subset_of(other):
        assert not one.has(value) or other.has(value)


@given(same_key, same_key)
def test_subset_is_an_order(one: Requirement, other: Requirement) -> None:
    assert one.subset_of(one)
    assert (one & other).subset_of(one)
    if one.subset_of(other) and other.subset_of(one):
        assert [one.has(value) for value in SAMPLES] == [other.has(value) for value in SAMPLES]


@given(same_key)
def test_any_value_is_allowed_if_any_is(one: Requirement) -> None:
    value = one.any_value()
    assert value is not None or not one.complement
    assert value is None or one.has(value)


@given(same_key)
def test_only_the_contradiction_has_nothing(one: Requirement) -> None:
    assert one.empty == (one.any_value() is None and not one.has(None))


@given(same_key)
def test_what_is_written_to_a_claim_reads_back_the_same(one: Requirement) -> None:
    assume(not one.empty and not (one.universal and one.min_values))
    assert Requirements.from_list(one.to_list()) == Requirements([one])


@given(expressions(), samples)
def test_the_operators_mean_what_kubernetes_says(expression: tuple[str, list[str]], value: str | None) -> None:
    assert Requirement.of("a", *expression).has(value) == _matches(*expression, value)


def _matches(operator: str, values: list[str], value: str | None) -> bool:
    """By the wording of the API's documentation."""
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    number = _go_integer(value)
    if number is None:
        return False
    bound = int(values[0])
    return {"Gt": number > bound, "Gte": number >= bound, "Lt": number < bound, "Lte": number <= bound}[operator]


def _go_integer(value: str | None) -> int | None:
    digits = (value or "").removeprefix("-") if (value or "")[:1] == "-" else (value or "").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        return None
    number = int(value or "")
    return number if -(2**63) <= number < 2**63 else None


@given(many, many, labels)
def test_joint_requirements_are_satisfied_by_what_satisfies_each(
    one: Requirements, other: Requirements, present: dict[str, str]
) -> None:
    both = one.satisfied_by(present) and other.satisfied_by(present)
    assert (one & other).satisfied_by(present) == both


@given(many, many)
def test_joining_requirements_commutes(one: Requirements, other: Requirements) -> None:
    assert one & other == other & one
    assert hash(one & other) == hash(other & one)


@given(many, many, many)
def test_joining_requirements_associates(one: Requirements, two: Requirements, three: Requirements) -> None:
    assert (one & two) & three == one & (two & three)


@given(many)
def test_joining_requirements_with_themselves_or_with_none_changes_nothing(one: Requirements) -> None:
    assert one & one == one
    assert one & Requirements() == one


@given(many, labels)
def test_a_node_that_exists_is_compatible_exactly_if_its_labels_satisfy(
    asked: Requirements, present: dict[str, str]
) -> None:
    node = Requirements.from_labels(present)
    assert node.compatible(asked, allow_undefined=()) == asked.satisfied_by(present)


@given(many, many)
def test_compatible_requirements_on_the_same_keys_have_a_node_in_common(one: Requirements, other: Requirements) -> None:
    one, other = one.only(set(other)), other.only(set(one))
    joint = one & other
    assert one.compatible(other) == (joint.contradiction() is None)
    if joint.contradiction() is None:
        assert joint.satisfied_by(joint.labels())


@given(many, many)
def test_a_conflict_names_a_key_of_what_was_asked_and_says_so(one: Requirements, other: Requirements) -> None:
    conflict = one.conflict(other)
    if conflict is not None:
        assert conflict.key in other
        assert conflict.key in str(conflict)


@given(many, many, labels)
def test_what_satisfies_a_subset_satisfies_the_whole(
    one: Requirements, other: Requirements, present: dict[str, str]
) -> None:
    assert (one & other).subset_of(other)
    if one.subset_of(other) and one.satisfied_by(present):
        assert other.satisfied_by(present)


@given(many)
def test_splitting_by_keys_and_joining_again_loses_nothing(one: Requirements) -> None:
    assert one.only(KEYS[:1]) & one.without(KEYS[:1]) == one
