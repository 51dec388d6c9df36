"""What a pod's JSON says about other pods."""

from typing import Any

import msgspec
import pytest

from autonodes.core.labels import HOSTNAME, ZONE
from autonodes.core.podterms import PodSelector, PodTerm, Preferences, Spread
from autonodes.core.requirements import Requirements
from autonodes.kube.decoding import decode_pod

WEB = {"matchLabels": {"app": "web"}}
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def raw(labels: dict[str, str] | None = None, **spec: Any) -> bytes:
    metadata = {"name": "a", "namespace": "shop", "uid": "u", "labels": labels or {}}
    return msgspec.json.encode({"metadata": metadata, "spec": {"containers": [{"name": "c"}], **spec}})


def web(*namespaces: str, **labels: str) -> PodSelector:
    return PodSelector(Requirements.from_labels({"app": "web", **labels}), frozenset(namespaces or ("shop",)))


def test_a_spread_constraint_has_the_defaults_of_the_api() -> None:
    constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}
    assert decode_pod(raw(topologySpreadConstraints=[constraint])).spread == (Spread(ZONE, web()),)


def test_a_spread_constraint_says_all_that_it_can() -> None:
    constraint = {
        "maxSkew": 3,
        "topologyKey": HOSTNAME,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": WEB,
        "minDomains": 2,
        "matchLabelKeys": ["pod-template-hash", "missing"],
        "nodeAffinityPolicy": "Ignore",
        "nodeTaintsPolicy": "Honor",
    }
    found = decode_pod(raw({"pod-template-hash": "5"}, topologySpreadConstraints=[constraint])).spread
    expected = Spread(HOSTNAME, web(**{"pod-template-hash": "5"}), 3, 2, False, False, True)
    assert found == (expected,)


def test_affinity_is_about_the_pod_s_namespace_unless_it_names_others() -> None:
    terms = [
        {"topologyKey": ZONE, "labelSelector": WEB},
        {"topologyKey": ZONE, "labelSelector": WEB, "namespaces": ["a", "b"]},
        {"topologyKey": ZONE, "labelSelector": WEB, "namespaceSelector": {}},
    ]
    found = decode_pod(raw(affinity={"podAffinity": {REQUIRED: terms}})).near
    everywhere = PodSelector(web().labels, frozenset(), Requirements())
    assert found == (PodTerm(ZONE, web()), PodTerm(ZONE, web("a", "b")), PodTerm(ZONE, everywhere))


def test_mismatched_label_keys_keep_others_away() -> None:
    term = {"topologyKey": ZONE, "labelSelector": WEB, "mismatchLabelKeys": ["tenant"]}
    (found,) = decode_pod(raw({"tenant": "x"}, affinity={"podAntiAffinity": {REQUIRED: [term]}})).apart
    assert found.selector.selects("shop", {"app": "web", "tenant": "y"}, {})
    assert not found.selector.selects("shop", {"app": "web", "tenant": "x"}, {})


def test_preferences_keep_their_weights() -> None:
    term = {"weight": 5, "podAffinityTerm": {"topologyKey": ZONE, "labelSelector": WEB}}
    node = {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    found = decode_pod(raw(affinity={"podAffinity": {PREFERRED: [term]}, "nodeAffinity": {PREFERRED: [node]}}))
    disk = Requirements.from_list([{"key": "disk", "operator": "Exists"}])
    assert found.preferences == Preferences(nodes=((7, disk),), near=((5, PodTerm(ZONE, web())),))
    assert not found.near


def test_a_term_without_a_selector_means_no_pod() -> None:
    (found,) = decode_pod(raw(affinity={"podAffinity": {REQUIRED: [{"topologyKey": ZONE}]}})).near
    assert not found.selector.selects("shop", {"app": "web"}, {})


def test_pods_of_a_workload_share_what_was_read() -> None:
    affinity = {"podAffinity": {REQUIRED: [{"topologyKey": ZONE, "labelSelector": WEB}]}}
    assert decode_pod(raw(affinity=affinity)).near is decode_pod(raw({"x": "y"}, affinity=affinity)).near


FAULTS = [
    ({"maxSkew": 0, "topologyKey": ZONE}, "spec.topologySpreadConstraints[0].maxSkew: 0: write a positive number"),
    ({"topologyKey": ""}, "spec.topologySpreadConstraints[0].topologyKey"),
    ({"topologyKey": ZONE, "whenUnsatisfiable": "Never"}, "use DoNotSchedule or ScheduleAnyway"),
    (
        {"topologyKey": ZONE, "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
        "spec.topologySpreadConstraints[0].labelSelector[0].operator: 'Near'",
    ),
]


@pytest.mark.parametrize(("constraint", "expected"), FAULTS)
def test_what_can_not_be_is_the_pod_s_fault(constraint: dict[str, Any], expected: str) -> None:
    assert expected in decode_pod(raw(topologySpreadConstraints=[constraint])).fault
