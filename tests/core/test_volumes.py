"""What volumes ask of a node, as the planner sees it after `with_volumes`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autonodes.core.labels import INSTANCE_TYPE, ZONE
from autonodes.core.model import InstanceType, Plan, Pod, PodUID, Snapshot
from autonodes.core.planner import plan
from autonodes.core.requirements import FIELD_NAME
from autonodes.core.storage import PodVolume, Storage, StorageClass, Volume, VolumeClaim
from autonodes.core.volumes import ATTACHABLE, UNLIMITED, is_attachment, with_volumes
from core.parts import claim, machine, node, pod, ready_node, requirements, running, snapshot

EBS = "ebs.csi.aws.com"
SMALL = machine("small", cpu=8, memory="16Gi", price=0.1, zones=("z1", "z2"))


def using(name: str, *claims: str, **fields: Any) -> Pod:
    volumes = tuple(PodVolume(each, each) for each in claims)
    return pod(name, cpu=fields.pop("cpu", "100m"), volumes=volumes, **fields)


def storage(
    *claims: VolumeClaim,
    volumes: tuple[Volume, ...] = (),
    classes: tuple[StorageClass, ...] = (),
    limits: dict[str, dict[str, int]] | None = None,
) -> Storage:
    return Storage(
        claims={each.key: each for each in claims},
        volumes={each.name: each for each in volumes},
        classes={each.name: each for each in classes},
        attach_limits=limits or {},
    )


def bound(name: str, volume: str = "pv", **fields: Any) -> VolumeClaim:
    return VolumeClaim(namespace="default", name=name, volume=volume, bound=True, **fields)


def unbound(name: str, storage_class: str | None = "slow", **fields: Any) -> VolumeClaim:
    return VolumeClaim(namespace="default", name=name, storage_class=storage_class, **fields)


def class_(name: str = "slow", *terms: str, **fields: Any) -> StorageClass:
    given = {"driver": EBS, "immediate": False, **fields}
    return StorageClass(name=name, terms=tuple(requirements(term) for term in terms), **given)


def zonal(name: str = "pv", *terms: str, **fields: Any) -> Volume:
    return Volume(name=name, terms=tuple(requirements(term) for term in terms), **{"driver": EBS, **fields})


def zones(found: Plan) -> set[str]:
    return {zone for purchase in found.purchases for _, zone, _, _ in purchase.candidates}


def folded(pods: list[Pod], there: Storage, *types: InstanceType, **fields: Any) -> Snapshot:
    return with_volumes(snapshot(pods, types=types or (SMALL,), **fields), there)


def fault(there: Storage, *pods: Pod) -> str:
    """Of the last pod; what the plan tells."""
    found = plan(folded(list(pods), there))
    (reason,) = found.unplaced[pods[-1].uid]
    assert not reason.pool
    return reason.text


def test_a_pod_without_volumes_leaves_the_snapshot_as_it_is() -> None:
    before = snapshot([pod("a")], types=(SMALL,))
    assert with_volumes(before, storage()) is before


def test_a_pod_is_bought_for_where_its_volume_is() -> None:
    there = storage(bound("data"), volumes=(zonal("pv", f"{ZONE} In z2"),))
    assert zones(plan(folded([using("a", "data")], there))) == {"z2"}


def test_the_terms_of_a_volume_are_alternatives() -> None:
    there = storage(bound("data"), volumes=(zonal("pv", f"{ZONE} In z2", f"{ZONE} In z1"),))
    (found,) = folded([using("a", "data")], there).pods
    assert found.required_terms == (requirements(f"{ZONE} In z2"), requirements(f"{ZONE} In z1"))


def test_a_driver_s_own_name_for_the_zone_is_known_before_the_node_exists() -> None:
    there = storage(bound("data"), volumes=(zonal("pv", "topology.ebs.csi.aws.com/zone In z2"),))
    assert zones(plan(folded([using("a", "data")], there))) == {"z2"}


def test_two_volumes_must_be_reached_at_once() -> None:
    volumes = (zonal("one", f"{ZONE} In z1 z2"), zonal("two", f"{ZONE} In z2 z3"))
    there = storage(bound("a", "one"), bound("b", "two"), volumes=volumes)
    assert zones(plan(folded([using("a", "a", "b")], there))) == {"z2"}


def test_volumes_in_different_zones_are_a_contradiction_that_the_plan_names() -> None:
    volumes = (zonal("one", f"{ZONE} In z1"), zonal("two", f"{ZONE} In z2"))
    there = storage(bound("a", "one"), bound("b", "two"), volumes=volumes)
    found = plan(folded([using("a", "a", "b")], there))
    (reason,) = found.unplaced[PodUID("a")]
    assert reason.text == (
        f"spec.volumes[b]: '{ZONE} In [z2]': can be reached by no node that meets the rest "
        f"(volume a: {ZONE} In [z1]): move the volume or the pod"
    )


def test_a_volume_where_the_pod_may_not_run_is_named_with_what_forbids_it() -> None:
    there = storage(bound("data"), volumes=(zonal("pv", f"{ZONE} In z2"),))
    kept = replace(using("a", "data"), required_terms=(requirements(f"{ZONE} In z1"),))
    found = plan(folded([kept, using("b", "data")], there))
    text = found.unplaced[PodUID("a")][0].text
    assert text.startswith(f"spec.volumes[data]: '{ZONE} In [z2]'")
    assert f"spec.affinity.nodeAffinity: {ZONE} In [z1]" in text
    assert [each.pods for each in found.purchases] == [(PodUID("b"),)]


def test_a_volume_s_place_is_folded_into_each_term_of_the_pod() -> None:
    there = storage(bound("data"), volumes=(zonal("pv", f"{ZONE} In z2"),))
    asking = using("a", "data")
    asking = replace(asking, required_terms=(requirements("disk In ssd"), requirements("disk In hdd")))
    (found,) = folded([asking], there).pods
    assert found.required_terms == (
        requirements("disk In ssd", f"{ZONE} In z2"),
        requirements("disk In hdd", f"{ZONE} In z2"),
    )


def test_a_class_that_waits_for_the_first_consumer_says_where() -> None:
    there = storage(unbound("data"), classes=(class_("slow", f"{ZONE} In z2"),))
    assert zones(plan(folded([using("a", "data")], there))) == {"z2"}


def test_a_claim_without_a_class_takes_the_default_one() -> None:
    there = storage(unbound("data", None), classes=(class_("slow", f"{ZONE} In z2", default=True),))
    assert zones(plan(folded([using("a", "data")], there))) == {"z2"}


def test_a_claim_that_is_being_provisioned_for_a_node_goes_there() -> None:
    there = storage(unbound("data", selected_node="n2"), classes=(class_(),))
    nodes = [node("n1"), node("n2")]
    assert plan(folded([using("a", "data")], there, nodes=nodes)).placements == {"a": "n2"}


def test_a_node_that_is_gone_is_no_longer_selected() -> None:
    there = storage(unbound("data", selected_node="gone"), classes=(class_(),))
    (found,) = folded([using("a", "data")], there).pods
    assert not any(FIELD_NAME in term for term in found.required_terms)


FAULTS: list[tuple[str, Storage, str]] = [
    ("missing claim", storage(), "there is no PersistentVolumeClaim of this name in namespace default"),
    ("immediate and unbound", storage(unbound("data"), classes=(class_(immediate=True),)), "Immediate"),
    ("missing class", storage(unbound("data", "fast")), "StorageClass fast"),
    ("no class", storage(unbound("data", "")), "has no StorageClass"),
    ("missing volume", storage(bound("data", "pv-7")), "PersistentVolume pv-7"),
    ("lost", storage(bound("data", lost=True), volumes=(zonal(),)), "does not exist"),
    ("claim goes", storage(bound("data", leaving=True), volumes=(zonal(),)), "is being deleted"),
    ("volume goes", storage(bound("data"), volumes=(zonal(leaving=True),)), "PersistentVolume pv is being deleted"),
    (
        "binding not complete",
        storage(VolumeClaim(namespace="default", name="data", volume="pv"), volumes=(zonal(),)),
        "not complete yet",
    ),
    (
        "no volume made by hand",
        storage(
            unbound("data", storage=100),
            classes=(class_(provisions=False),),
            volumes=(zonal(storage_class="slow", free=True, storage=99), zonal("pv2", storage_class="slow")),
        ),
        "no PersistentVolume of StorageClass slow is free and large enough",
    ),
]


@pytest.mark.parametrize(("there", "text"), [each[1:] for each in FAULTS], ids=[each[0] for each in FAULTS])
def test_what_can_t_be_had_is_said_and_the_other_pods_are_planned(there: Storage, text: str) -> None:
    found = plan(folded([using("a", "data"), pod("b", cpu=1)], there))
    (reason,) = found.unplaced[PodUID("a")]
    assert text in reason.text
    assert "spec.volumes[data]" in reason.text
    assert [purchase.pods for purchase in found.purchases] == [("b",)]


def test_volumes_made_by_hand_say_where_the_pod_can_go() -> None:
    volumes = (
        zonal("here", f"{ZONE} In z2", storage_class="local", storage=10, free=True),
        zonal("taken", f"{ZONE} In z1", storage_class="local", storage=10),
    )
    there = storage(unbound("data", "local", storage=5), classes=(class_("local", provisions=False),), volumes=volumes)
    assert zones(plan(folded([using("a", "data")], there))) == {"z2"}


def test_an_ephemeral_volume_needs_no_claim_yet() -> None:
    there = storage(classes=(class_("slow", f"{ZONE} In z2"),))
    ephemeral = pod("a", cpu=1, volumes=(PodVolume("data", "a-data", True, "slow"),))
    assert zones(plan(folded([ephemeral], there))) == {"z2"}


def test_an_ephemeral_volume_does_not_take_somebody_else_s_claim() -> None:
    there = storage(unbound("a-data", owner="other"), classes=(class_(),))
    assert "not made for this pod" in fault(there, pod("a", volumes=(PodVolume("data", "a-data", True, "slow"),)))


def test_a_claim_for_one_pod_keeps_others_waiting() -> None:
    there = storage(bound("data", once_per_pod=True), volumes=(zonal(),))
    holder = running("holder", "n1", volumes=(PodVolume("data", "data"),))
    assert "pod default/holder has it" in fault(there, holder, using("a", "data"))


def test_of_two_waiting_pods_the_first_gets_the_claim_for_one() -> None:
    there = storage(bound("data", once_per_pod=True), volumes=(zonal(),))
    found = plan(folded([using("a", "data"), using("b", "data", priority=5)], there))
    assert list(found.unplaced) == ["a"]


def test_a_pod_that_others_make_room_for_may_take_their_claim() -> None:
    there = storage(bound("data", once_per_pod=True), volumes=(zonal(),))
    holder = running("holder", "n1", volumes=(PodVolume("data", "data"),))
    found = plan(folded([holder, using("a", "data", nominated_node="n1")], there, nodes=[node("n1")]))
    assert found.placements == {"a": "n1"}


def attached(count: int, limit: int, *, on: str = "n1") -> tuple[Storage, list[Pod]]:
    """``count`` volumes in use on a node that attaches ``limit``, and five free ones, ``free-0`` to ``free-4``."""
    used = [bound(f"used-{number}", f"pv-used-{number}") for number in range(count)]
    free = [bound(f"free-{number}", f"pv-free-{number}") for number in range(5)]
    volumes = tuple(zonal(each.volume) for each in (*used, *free))
    there = storage(*used, *free, volumes=volumes, limits={on: {EBS: limit}})
    return there, [running(f"r{each.name}", on, volumes=(PodVolume("v", each.name),)) for each in used]


def test_a_node_takes_no_more_volumes_than_it_can_attach() -> None:
    there, users = attached(3, 5)
    waiting = [using(f"w{number}", f"free-{number}") for number in range(4)]
    found = plan(folded([*users, *waiting], there, nodes=[node("n1", cpu=16)]))
    assert sorted(found.placements.values()) == ["n1", "n1"]
    assert len(found.purchases) == 1


def test_a_volume_that_pods_share_is_in_use_once() -> None:
    there, users = attached(1, 2)
    users += [running(f"more{number}", "n1", volumes=(PodVolume("v", "used-0"),)) for number in range(5)]
    found = plan(folded([*users, using("w", "free-0")], there, nodes=[node("n1", cpu=16)]))
    assert found.placements == {"w": "n1"}


def test_a_pod_with_many_volumes_asks_for_as_many() -> None:
    there, users = attached(3, 5)
    found = plan(folded([*users, using("w", "free-0", "free-1", "free-2")], there, nodes=[node("n1", cpu=16)]))
    assert not found.placements
    assert len(found.purchases) == 1


def test_a_new_machine_attaches_as_many_as_others_of_its_type() -> None:
    there, _ = attached(0, 2)
    waiting = [using(f"w{number}", f"free-{number}") for number in range(5)]
    full = node("n1", cpu="10m", labels={INSTANCE_TYPE: "small"})
    found = plan(folded(waiting, there, nodes=[full]))
    assert sorted(len(purchase.pods) for purchase in found.purchases) == [1, 2, 2]


def test_where_no_limit_is_known_there_is_none() -> None:
    there, _ = attached(0, 1, on="elsewhere")
    waiting = [using(f"w{number}", f"free-{number}") for number in range(5)]
    found = plan(folded(waiting, there, nodes=[node("n1", cpu="10m")]))
    assert len(found.purchases) == 1


def test_a_machine_in_flight_keeps_room_for_volumes() -> None:
    there, _ = attached(0, 1, on="elsewhere")
    found = folded([using("w", "free-0")], there, claims=[claim("c1", cpu=8)])
    assert found.claims[0].allocatable[ATTACHABLE + EBS] == UNLIMITED
    assert plan(found).placements == {"w": "c1"}


def test_drivers_without_any_limit_cost_nothing() -> None:
    there = storage(bound("data"), volumes=(zonal(),))
    (found,) = folded([using("a", "data")], there).pods
    assert not any(map(is_attachment, found.requests))


def test_the_least_limit_of_a_type_counts_for_new_ones() -> None:
    there, _ = attached(0, 9)
    there = replace(there, attach_limits={"n1": {EBS: 9}, "n2": {EBS: 3}})
    nodes = [node(name, labels={INSTANCE_TYPE: "small"}) for name in ("n1", "n2", "n3")]
    found = folded([using("w", "free-0")], there, nodes=nodes)
    assert [each.allocatable[ATTACHABLE + EBS] for each in found.nodes] == [9, 3, 3]
    assert found.instance_types["default"][0].allocatable[ATTACHABLE + EBS] == 3


def test_pods_of_one_set_stay_one_shape() -> None:
    there, _ = attached(0, 9)
    found = folded([using(f"w{number}", f"free-{number}") for number in range(5)], there)
    assert len({id(each.requests) for each in found.pods}) <= 5
    assert len({(tuple(each.requests.items()), each.required_terms) for each in found.pods}) == 1


def test_an_initialized_node_keeps_what_else_it_has() -> None:
    there, _ = attached(0, 9, on="n1")
    here, behind = ready_node("n1")
    found = folded([using("w", "free-0")], there, nodes=[here], claims=[behind])
    assert {**found.nodes[0].allocatable} == {**here.allocatable, ATTACHABLE + EBS: 9}
