"""Room for pods that don't exist yet, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autonodes.controllers.provisioningrequests import ATOMIC, BOOKED, CHECK, CONSUME, ProvisioningRequests
from autonodes.core.labels import ZONE
from autonodes.core.model import Plan
from autonodes.core.planner import plan
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import PODTEMPLATES, PROVISIONINGREQUESTS, Resource
from core.parts import machine, node, pod, pool, snapshot

SMALL = machine("small", cpu=2, price=0.1)
TEMPLATE = {"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}}


class Api:
    """One request and its template."""

    def __init__(self, class_name: str, count: int) -> None:
        spec = {"provisioningClassName": class_name, "podSets": [{"podTemplateRef": {"name": "t"}, "count": count}]}
        metadata = {"name": "job", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1}
        self.request: dict[str, Any] = {"metadata": metadata, "spec": spec, "status": {}}
        self.templates: dict[str, Any] = {"t": {"template": TEMPLATE}}

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Any:
        found = {"job": self.request} if resource is PROVISIONINGREQUESTS else self.templates
        assert resource in (PROVISIONINGREQUESTS, PODTEMPLATES)
        if name not in found:
            raise NotFoundError("not found", request=f"GET {name}")
        return found[name]

    async def merge_patch(self, resource: Resource, name: str, patch: Mapping[str, Any], *_: Any, **__: Any) -> None:
        self.request["status"] = patch["status"]

    def condition(self, kind: str) -> tuple[str, str]:
        found = [each for each in self.request["status"]["conditions"] if each["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")


class World:
    """:ivar now: seconds since the epoch"""

    def __init__(self, class_name: str = ATOMIC, count: int = 3) -> None:
        self.api, self.now, self.real = Api(class_name, count), 1000.0, dict[str, Any]()
        clock: Any = SimpleNamespace(now=lambda: self.now)
        pods: Any = SimpleNamespace(items=self.real)
        self.requests = ProvisioningRequests(self.api, pods, clock)  # type: ignore[arg-type]

    async def look(self) -> None:
        await self.requests._look("default/job")

    async def round(self, **fields: Any) -> Plan:
        """Look, plan, tell, and look again."""
        await self.look()
        given = {"types": [SMALL], **fields}
        found = plan(snapshot(self.requests.pods(), groups=self.requests.groups(), **given))
        self.requests.planned(found, {each.name: each for each in given.get("nodes", ())})
        await self.look()
        return found


async def test_all_of_it_is_bought_for_and_it_is_provisioned_when_the_nodes_are_up() -> None:
    world = World()
    found = await world.round()
    assert sum(len(purchase.pods) for purchase in found.purchases) == 3
    assert world.api.condition("Accepted") == ("True", "Accepted")
    assert world.api.condition("Provisioned") == ("False", "CapacityIsProvisioned")
    up = [node("a"), node("b")]
    assert (await world.round(nodes=up)).purchases == ()
    assert world.api.condition("Provisioned") == ("True", "CapacityIsFound")


async def test_nothing_is_bought_where_not_all_of_it_can_be() -> None:
    world = World()
    found = await world.round(pools=[pool(limits={"cpu": 2000})])
    assert found.purchases == ()
    assert found.refused_groups == ("default/provisioning-request/job",)
    assert world.api.condition("Provisioned") == ("False", "CapacityIsNotFound")


@pytest.mark.parametrize("annotation", ["autonodes.io/required-topology", "kueue.x-k8s.io/podset-required-topology"])
async def test_all_of_it_is_in_one_domain_if_its_template_says_so(annotation: str) -> None:
    up = [node(name, cpu=2, labels={ZONE: zone}) for name, zone in (("a", "z1"), ("b", "z2"))]
    anywhere = World()
    await anywhere.round(nodes=up, types=[], pools=[])
    assert anywhere.api.condition("Provisioned") == ("True", "CapacityIsFound")
    world = World()
    world.api.templates["t"] = {"template": {**TEMPLATE, "metadata": {"annotations": {annotation: ZONE}}}}
    found = await world.round(nodes=up, types=[], pools=[])
    assert found.placements == {}
    assert world.api.condition("Provisioned") == ("False", "CapacityIsNotFound")
    bought = await world.round(types=[machine("small", cpu=2, price=0.1, zones=["z1", "z2"])])
    assert len({each.requirements[ZONE].single for each in bought.purchases}) == 1
    assert sum(len(each.pods) for each in bought.purchases) == 3


async def test_pod_sets_that_require_different_domains_fail_the_request() -> None:
    world = World()
    world.api.request["spec"]["podSets"].append({"podTemplateRef": {"name": "other"}, "count": 1})
    annotated = {"metadata": {"annotations": {"autonodes.io/required-topology": ZONE}}}
    world.api.templates["other"] = {"template": {**TEMPLATE, **annotated}}
    await world.look()
    assert world.api.condition("Failed") == ("True", "FailedToResolve")
    (failed,) = [each for each in world.api.request["status"]["conditions"] if each["type"] == "Failed"]
    assert f"(none, {ZONE}): give all one" in failed["message"]


async def test_a_check_buys_nothing() -> None:
    world = World(CHECK)
    assert (await world.round()).purchases == ()
    assert world.api.condition("Provisioned") == ("False", "CapacityIsNotFound")
    await world.round(nodes=[node("a"), node("b")])
    assert world.api.condition("Provisioned") == ("True", "CapacityIsFound")


async def test_a_node_that_is_still_coming_up_is_no_room_yet() -> None:
    world = World(count=1)
    await world.round(nodes=[node("a", ready=False)])
    assert world.api.condition("Provisioned")[0] == "False"


async def test_room_is_kept_for_a_while_and_then_given_up() -> None:
    world, up = World(), [node("a"), node("b")]
    await world.round(nodes=up)
    await world.look()
    assert len(world.requests.pods()) == 3
    world.now += BOOKED
    await world.look()
    await world.look()
    assert world.api.condition("BookingExpired")[0] == "True"
    assert world.requests.pods() == ()


async def test_room_that_is_gone_is_revoked() -> None:
    world = World(CHECK)
    await world.round(nodes=[node("a"), node("b")])
    await world.round(nodes=[node("a")])
    assert world.api.condition("CapacityRevoked")[0] == "True"


async def test_pods_take_the_places_that_were_kept_for_them() -> None:
    world = World()
    await world.round(nodes=[node("a"), node("b")])
    world.real["default/x"] = replace(pod("x"), annotations={CONSUME: "job"})
    assert len(world.requests.pods()) == 2
    assert [group.min_count for group in world.requests.groups()] == [2]


async def test_a_template_that_does_not_exist_fails_the_request() -> None:
    world = World()
    world.api.templates.clear()
    await world.look()
    assert world.api.condition("Failed") == ("True", "FailedToResolve")
    assert world.requests.pods() == ()


@pytest.mark.parametrize("class_name", ["mine.example.com", "queued-provisioning.gke.io"])
async def test_requests_of_other_classes_are_left_alone(class_name: str) -> None:
    world = World(class_name)
    await world.look()
    assert world.requests.pods() == ()
    assert world.api.request["status"] == {}
