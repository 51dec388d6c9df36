import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.labels import ARCH
from autonodes.core.requirement import INT_MAX, INT_MIN, Requirement


def of(text: str) -> Requirement:
    operator, *values = text.split()
    return Requirement.of("a", operator, values)


MEETINGS = [
    ("In 1 2", "In 2 3", "In 2"),
    ("In 1 2", "NotIn 2", "In 1"),
    ("In 1 2 word", "Gt 1", "In 2"),
    ("NotIn 1", "NotIn 2", "NotIn 1 2"),
    ("NotIn 1 word", "Gte 0", "Gte 0, NotIn 1"),
    ("Exists", "NotIn 1", "NotIn 1, Exists"),
    ("Exists", "Lt 5", "Lt 5"),
    ("Gt 1", "Gte 2", "Gt 1"),
    ("Gt 1", "Lt 5", "Gte 2, Lte 4"),
    ("NotIn 9", "Lt 5", "Lt 5"),
    ("DoesNotExist", "NotIn 1", "DoesNotExist"),
    ("DoesNotExist", "DoesNotExist", "DoesNotExist"),
]


@pytest.mark.parametrize(("one", "other", "both"), MEETINGS)
def test_two_requirements_meet_in(one: str, other: str, both: str) -> None:
    expected = Requirement.anything("a")
    for part in both.split(", "):
        expected &= of(part)
    assert of(one) & of(other) == expected


CONTRADICTIONS = [
    ("In 1", "NotIn 1"),
    ("In 1", "In 2"),
    ("In word", "Gt 1"),
    ("Exists", "DoesNotExist"),
    ("Gt 1", "DoesNotExist"),
    ("In 1", "DoesNotExist"),
    ("Gt 4", "Lt 5"),
]


@pytest.mark.parametrize(("one", "other"), CONTRADICTIONS)
def test_two_requirements_contradict(one: str, other: str) -> None:
    assert (of(one) & of(other)).empty
    assert not of(one).overlaps(of(other))


@pytest.mark.parametrize("text", [f"Gt {INT_MAX}", f"Lt {INT_MIN}"])
def test_a_bound_beyond_all_integers_allows_nothing(text: str) -> None:
    assert of(text).empty


@pytest.mark.parametrize("value", ["7", "007", "+7"])
def test_integers_are_those_of_go(value: str) -> None:
    assert of("Gt 6").has(value)


@pytest.mark.parametrize("value", ["7.0", "word", "", "7 ", str(2**63), "9" * 5000, None])
def test_where_bounds_are_set_other_values_never_match(value: str | None) -> None:
    assert not of("Gt 6").has(value)


@pytest.mark.parametrize("deprecated", ["beta.kubernetes.io/arch"])
def test_a_deprecated_key_becomes_the_one_that_stands_for_it(deprecated: str) -> None:
    assert Requirement.of(deprecated, "In", ["amd64"]).key == ARCH
    assert Requirement.anything(deprecated).key == Requirement.nothing(deprecated).key == ARCH


@pytest.mark.parametrize(
    ("operator", "values", "field"),
    [
        ("Is", ["1"], "operator"),
        ("In", [], "values"),
        ("NotIn", [], "values"),
        ("Exists", ["1"], "values"),
        ("DoesNotExist", ["1"], "values"),
        ("Gt", ["word"], "values"),
        ("Lte", ["1", "2"], "values"),
        ("Gte", [], "values"),
        ("Lt", ["1.5"], "values"),
    ],
)
def test_a_line_that_can_not_be_is_refused_naming_label_and_field(operator: str, values: list[str], field: str) -> None:
    with pytest.raises(ConfigError, match="label a: ") as caught:
        Requirement.of("a", operator, values, path="spec.requirements[3]")
    assert caught.value.path == f"spec.requirements[3].{field}"


def test_the_greater_min_values_is_kept() -> None:
    three, five = Requirement.of("a", "Exists", min_values=3), Requirement.of("a", "Exists", min_values=5)
    assert (three & five & of("In 1")).min_values == 5


LINES = [
    ("In 2 1", [{"key": "a", "operator": "In", "values": ["1", "2"]}]),
    ("NotIn 1", [{"key": "a", "operator": "NotIn", "values": ["1"]}]),
    ("Exists", [{"key": "a", "operator": "Exists"}]),
    ("DoesNotExist", [{"key": "a", "operator": "DoesNotExist"}]),
    ("Gt 1", [{"key": "a", "operator": "Gte", "values": ["2"]}]),
    ("Lt 1", [{"key": "a", "operator": "Lte", "values": ["0"]}]),
    (f"Gte {INT_MIN}", [{"key": "a", "operator": "Gte", "values": [str(INT_MIN)]}]),
]


@pytest.mark.parametrize(("text", "lines"), LINES)
def test_it_is_written_as_lines_of_a_claim(text: str, lines: list[dict[str, object]]) -> None:
    assert of(text).to_list() == lines


def test_what_one_operator_can_not_say_takes_several_lines() -> None:
    both = of("Gte 1") & of("Lte 9") & of("NotIn 5")
    assert [line["operator"] for line in both.to_list()] == ["Gte", "Lte", "NotIn"]
    assert Requirement.anything("a").to_list() == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("In b a", "a"), ("Exists", "true"), ("NotIn true", "0"), ("Gt 5", "6"), ("Lt -5", "-6"), ("DoesNotExist", None)],
)
def test_some_value_is_always_the_same_one(text: str, value: str | None) -> None:
    assert of(text).any_value() == value


def test_text_shows_a_few_values_of_many() -> None:
    assert str(Requirement.of("a", "In", list("abcdefgh"))) == "a In [a, b, c, d, e, and 3 others]"
    assert str(Requirement.of("a", "Exists", min_values=2)) == "a Exists (minValues 2)"
    assert str(Requirement.anything("a")) == "a anything"
