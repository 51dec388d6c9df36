import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.labels import ARCH, INSTANCE_TYPE, ZONE
from autonodes.core.requirements import FIELD_NAME, Requirement, Requirements, required_terms
from core.parts import requirements

# As Karpenter's tables have them: rows are what a pool offers at a key, columns what a pod asks for.
OFFERS = {
    "undefined": (),
    "Exists": ("KEY Exists",),
    "DoesNotExist": ("KEY DoesNotExist",),
    "In A": ("KEY In A",),
    "In B": ("KEY In B",),
    "NotIn A": ("KEY NotIn A",),
    "In 1": ("KEY In 1",),
    "In 9": ("KEY In 9",),
    "Gt 1": ("KEY Gt 1",),
    "Lt 9": ("KEY Lt 9",),
}
#                undefined Exists  DoesNotE. In A   In B   NotIn A In 1   In 9   Gt 1   Lt 9
CUSTOM = {
    "undefined": (True, False, True, False, False, True, False, False, False, False),
    "Exists": (True, True, False, True, True, True, True, True, True, True),
    "DoesNotExist": (True, False, True, False, False, True, False, False, False, False),
    "In A": (True, True, False, True, False, False, False, False, False, False),
    "In B": (True, True, False, False, True, True, False, False, False, False),
    "NotIn A": (True, True, True, False, True, True, True, True, True, True),
    "In 1": (True, True, False, False, False, True, True, False, False, True),
    "In 9": (True, True, False, False, False, True, False, True, True, False),
    "Gt 1": (True, True, False, False, False, True, False, True, True, True),
    "Lt 9": (True, True, False, False, False, True, True, False, True, True),
}
WELL_KNOWN = {**CUSTOM, "undefined": (True,) * 10}


@pytest.mark.parametrize(("key", "table"), [("example.com/team", CUSTOM), (ZONE, WELL_KNOWN)])
@pytest.mark.parametrize("offered", OFFERS)
def test_a_pool_is_compatible_with_a_pod_as_karpenter_has_it(
    key: str, table: dict[str, tuple[bool, ...]], offered: str
) -> None:
    def at_key(name: str) -> Requirements:
        return requirements(*(line.replace("KEY", key) for line in OFFERS[name]))

    compatible = tuple(at_key(offered).compatible(at_key(asked)) for asked in OFFERS)
    assert dict(zip(OFFERS, compatible, strict=True)) == dict(zip(OFFERS, table[offered], strict=True))


def test_requirements_of_one_key_are_joined_and_sorted() -> None:
    joined = requirements("b In 1 2", "a Exists", "b NotIn 2")
    assert list(joined) == ["a", "b"]
    assert joined["b"] == Requirement.of("b", "In", ["1"])


def test_what_requires_nothing_is_left_out() -> None:
    assert Requirements([Requirement.anything("a")]) == Requirements()
    assert not Requirements()


def test_labels_are_required_exactly_and_deprecated_ones_only_stand_in() -> None:
    labels = {"beta.kubernetes.io/arch": "old", ARCH: "arm64", "failure-domain.beta.kubernetes.io/zone": "z1"}
    assert Requirements.from_labels(labels) == requirements(f"{ARCH} In arm64", f"{ZONE} In z1")


def test_a_bad_line_is_named_by_its_place() -> None:
    lines = [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Gt", "values": ["x"]}]
    with pytest.raises(ConfigError, match=r"^spec\.requirements\[1\]\.values: .*label b"):
        Requirements.from_list(lines, path="spec.requirements")


def test_min_values_survive_a_round_trip() -> None:
    line = {"key": INSTANCE_TYPE, "operator": "Exists", "minValues": 10}
    assert Requirements.from_list([line]).to_list() == [line]


def test_a_contradiction_names_its_key() -> None:
    contradiction = requirements("a Exists", "b In 1", "b NotIn 1").contradiction()
    assert contradiction is not None
    assert contradiction.key == "b"


CONFLICTS = [
    ("", "example.com/team In a", 'label "example.com/team" does not have known values'),
    ("", "zone In a", 'does not have known values (typo of "topology.kubernetes.io/zone"?)'),
    ("example.com/team In a", "example.com/team In b", "key example.com/team, example.com/team In [b] not in"),
]


@pytest.mark.parametrize(("offered", "asked", "text"), CONFLICTS)
def test_a_conflict_says_what_was_asked_and_what_there_is(offered: str, asked: str, text: str) -> None:
    conflict = requirements(*filter(None, [offered])).conflict(requirements(asked))
    assert text in str(conflict)


def test_a_contradiction_is_a_conflict_even_where_all_is_allowed() -> None:
    conflict = Requirements().conflict(requirements(f"{ZONE} In a", f"{ZONE} NotIn a"))
    assert "contradiction" in str(conflict)


def test_labels_of_a_node_are_made_from_what_is_required() -> None:
    wanted = requirements("a In y x", "b Exists", "c DoesNotExist", "d NotIn 1", "e Gt 5", f"{ZONE} In z1")
    assert wanted.labels(but=(ZONE,)) == {"a": "x", "b": "true", "e": "6"}


def test_a_claim_guarantees_only_what_all_its_nodes_would_have() -> None:
    assert requirements(f"{ZONE} In a").subset_of(requirements(f"{ZONE} In a b"))
    assert not requirements(f"{ZONE} In a b").subset_of(requirements(f"{ZONE} In a"))
    assert not Requirements().subset_of(requirements("x Exists"))
    assert requirements("x DoesNotExist").subset_of(requirements("x NotIn 1"))


def test_the_node_selector_is_folded_into_each_term() -> None:
    terms = required_terms({"a": "1"}, [([("b", "In", ["2"])], []), ([("c", "Exists", [])], [])])
    assert terms == (requirements("a In 1", "b In 2"), requirements("a In 1", "c Exists"))
    assert required_terms({"a": "1"}) == (requirements("a In 1"),)


def test_a_field_selector_asks_for_the_node_of_that_name() -> None:
    (term,) = required_terms({}, [([], [(FIELD_NAME, "In", ["n1"])])])
    assert term.satisfied_by({FIELD_NAME: "n1"})
    assert not Requirements().compatible(term)


def test_empty_terms_match_nothing() -> None:
    assert required_terms({}, [([], []), ([("a", "Exists", [])], [])]) == (requirements("a Exists"),)
    with pytest.raises(ConfigError, match="an empty term matches no node"):
        required_terms({}, [([], [])])


def test_a_bad_expression_is_named_by_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        required_terms({}, [([("a", "Exists", []), ("b", "Gt", ["x"])], [])])
    assert caught.value.path.endswith("nodeSelectorTerms[0].matchExpressions[1].values")
