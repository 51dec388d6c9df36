"""Requirements at random, over so few keys and values that they often meet."""

from hypothesis import strategies as st

from autonodes.core.requirements import OPERATORS, Requirement, Requirements

KEYS = ("a", "b", "topology.kubernetes.io/zone")
VALUES = ("1", "2", "5", "007", "+7", "-3", "7.0", "word", "", str(2**63 - 1), str(-(2**63)), str(2**63))
SAMPLES = (*VALUES, "0", "3", "4", "6", "7", "8", "-4", "9999999", "true")


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """An operator and its values."""
    operator = draw(st.sampled_from(OPERATORS))
    if operator in ("Gt", "Lt", "Gte", "Lte"):
        number = draw(st.one_of(st.integers(-5, 10), st.sampled_from([2**63 - 1, -(2**63)])))
        return operator, [str(number)]
    if operator in ("In", "NotIn"):
        return operator, draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    return operator, []


def requirements_at(key: str = "a") -> st.SearchStrategy[Requirement]:
    min_values = st.sampled_from([None, None, 1, 3])
    return st.builds(
        lambda expression, least: Requirement.of(key, *expression, min_values=least), expressions(), min_values
    )


@st.composite
def combined(draw: st.DrawFn, key: str = "a") -> Requirement:
    """An intersection of a few: contradictions and bounds with exceptions included."""
    result = draw(requirements_at(key))
    for other in draw(st.lists(requirements_at(key), max_size=2)):
        result &= other
    return result


many = st.lists(st.sampled_from(KEYS).flatmap(combined), max_size=4).map(Requirements)
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(SAMPLES))
