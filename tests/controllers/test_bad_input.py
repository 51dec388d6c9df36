"""What people write and do by mistake: a condition says so, the rest goes on, and nothing uncounted is disrupted.

On the real API server, so that what its schemas refuse never comes here.
"""

from __future__ import annotations

from typing import Any

import pytest

from autonodes.api.conditions import find_condition
from autonodes.core.errors import ConfigError
from autonodes.core.podbudgets import DisruptionBudget
from autonodes.kube import cluster
from autonodes.kube.errors import InvalidError
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS, NODES, PDBS
from controllers.stage import CLASS, Stage
from controllers.test_program import only_claim, until_running

pytestmark = pytest.mark.integration


async def says(stage: Stage, pool: str, type_: str, *words: str) -> bool:
    """Whether a pool's condition is False, with these words."""
    conditions = (await stage.admin.get(NODEPOOLS, pool)).get("status", {}).get("conditions") or ()
    found = next((each for each in conditions if (each["type"], each["status"]) == (type_, "False")), None)
    return found is not None and all(word in found["message"] for word in words)


async def _a_look_more(stage: Stage) -> None:
    """Wait until the fleet was looked at twice more: each time it is asked what is on sale."""
    seen = stage.cloud.calls.count("instance_types")
    await stage.until("two looks more", lambda: stage.cloud.calls.count("instance_types") >= seen + 2)


async def test_a_pool_with_a_schedule_that_makes_no_sense_says_so_and_others_go_on(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        kept = (await only_claim(stage)).name
        budget = {"nodes": "100%", "schedule": "0 25 * * *", "duration": "1h"}
        await stage.admin.merge_patch(NODEPOOLS, "default", {"spec": {"disruption": {"budgets": [budget]}}})
        words = "spec.disruption.budgets[0].schedule", "0 25 * * *", "hour"
        await stage.until("the pool says so", lambda: says(stage, "default", "ValidationSucceeded", *words))
        assert await says(stage, "default", "Ready", "ValidationSucceeded=False")
        await stage.pool("other", disruption={"consolidateAfter": "Never"})
        await stage.delete_pod("web")
        await stage.pod("next", cpu="3")
        await stage.until("the other pool buys", lambda: _has_claims(stage, 2))
        await _a_look_more(stage)
        assert kept in {claim.name for claim in await stage.claims()}
        budgets = {"disruption": {"budgets": [{"nodes": "100%"}]}}
        await stage.admin.merge_patch(NODEPOOLS, "default", {"spec": budgets})
        await stage.until("its empty node goes", lambda: _has_claims(stage, 1))


async def _has_claims(stage: Stage, count: int) -> bool:
    return len(await stage.claims()) == count


@pytest.mark.parametrize(
    "spec",
    [
        {"disruption": {"budgets": [{"nodes": "-1"}]}},
        {"disruption": {"budgets": [{"nodes": "101%"}]}},
        {"disruption": {"budgets": [{"nodes": "1", "schedule": "sometimes", "duration": "1h"}]}},
        {"disruption": {"budgets": [{"nodes": "1", "schedule": "@daily"}]}},
        {"disruption": {"consolidateAfter": "-5s"}},
        {"replicas": -1},
        {"weight": -1},
    ],
)
async def test_negative_numbers_and_half_a_budget_never_get_in(stage: Stage, spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        await stage.pool(**spec)


async def test_a_negative_limit_and_bad_annotations_are_told_by_the_pool(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(limits={"cpu": "-5"})
    async with stage.controller():
        await stage.until("it says so", lambda: says(stage, "default", "ValidationSucceeded", "spec.limits", "-5"))
        bad = {"autonodes.io/launch-timeout": "soon", "autonodes.io/purchase-burst": "-1"}
        await stage.admin.merge_patch(
            NODEPOOLS, "default", {"metadata": {"annotations": bad}, "spec": {"limits": {"cpu": "100"}}}
        )
        words = "autonodes.io/launch-timeout", "soon", "autonodes.io/purchase-burst", "-1"
        await stage.until("it says so", lambda: says(stage, "default", "ValidationSucceeded", *words))


async def test_a_pod_with_two_budgets_keeps_its_node_and_both_are_named(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    for name in ("one", "two"):
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
        await stage.admin.create(PDBS, {"metadata": {"name": name}, "spec": spec}, stage.namespace)
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        name = (await only_claim(stage)).name
        await stage.pool(template={"expireAfter": "24h"})
        text = f"pod {stage.namespace}/web has more than one PodDisruptionBudget: one, two"
        await stage.until("it is told", lambda: _told(stage, name, text))
        assert await stage.phase("web") == "Running"
        assert len(stage.cloud.purchases) == 1


async def test_a_budget_that_can_not_be_read_guards_its_namespace_until_it_can(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the API server takes is read today; a later release of it may take more."""
    readable = cluster.decode_budget

    def decode(raw: bytes) -> DisruptionBudget:
        if b'"later-release"' in raw:
            raise ConfigError("spec.later", "x", "not known")
        return readable(raw)

    monkeypatch.setattr(cluster, "decode_budget", decode)
    await stage.node_class()
    await stage.pool()
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "others"}}}
    body = {"metadata": {"name": "odd", "labels": {"from": "later-release"}}, "spec": spec}
    await stage.admin.create(PDBS, body, stage.namespace)
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        name = (await only_claim(stage)).name
        await stage.pool(template={"expireAfter": "24h"})
        text = f"PodDisruptionBudget {stage.namespace}/odd can't be read and may guard pod {stage.namespace}/web: "
        await stage.until(
            "it is told", lambda: _told(stage, name, f"{text}{ConfigError('spec.later', 'x', 'not known')}")
        )
        assert len(stage.cloud.purchases) == 1
        await stage.admin.merge_patch(PDBS, "odd", {"metadata": {"labels": {"from": None}}}, stage.namespace)
        await stage.until("it drifts", lambda: len(stage.cloud.purchases) == 2)


async def _told(stage: Stage, name: str, text: str) -> bool:
    return text in await stage.messages(name)


async def test_a_finalizer_of_somebody_else_holds_the_claim_and_nothing_else(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(limits={"nodes": "1"})
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        claim = await only_claim(stage)
        held = [*claim.metadata.finalizers, "example.com/hold"]
        await stage.admin.merge_patch(NODECLAIMS, claim.name, {"metadata": {"finalizers": held}})
        await stage.delete_pod("web")
        await stage.until("its machine and its node are gone", lambda: _nothing_behind(stage))
        await stage.until("it says why it stays", lambda: _says_who_holds(stage, claim.name))
        await stage.pod("next")
        await until_running(stage, "next")


async def _nothing_behind(stage: Stage) -> bool:
    return not stage.cloud.records() and not await stage.nodes()


async def _says_who_holds(stage: Stage, name: str) -> bool:
    (claim,) = [each for each in await stage.claims() if each.name == name]
    found = find_condition(claim.status.conditions, "InstanceTerminating")
    return found is not None and found.reason == "InstanceTerminated" and "example.com/hold" in found.message


async def test_a_node_class_that_is_deleted_in_use_stops_purchases_and_no_machine(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        name = (await only_claim(stage)).name
        await stage.admin.delete(CLASS, "default")
        await stage.until("the pool says so", lambda: says(stage, "default", "NodeClassReady", "default"))
        await stage.delete_pod("web")
        await stage.pod("next", cpu="3")
        await stage.until("the pod is told", lambda: _is_unschedulable(stage, "next"))
        assert [claim.name for claim in await stage.claims()] == [name]
        await stage.admin.delete(NODECLAIMS, name)
        await stage.until("its machine can still be given back", lambda: not stage.cloud.records())
        await stage.node_class()
        await until_running(stage, "next")


async def _is_unschedulable(stage: Stage, pod: str) -> bool:
    return "FailedScheduling" in await stage.events(pod)


async def test_a_claim_whose_status_somebody_wiped_finds_its_machine_again(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        claim = await only_claim(stage)
        when = "2020-01-01T00:00:00Z"
        nonsense = {"type": "Drained", "status": "True", "reason": "Hand", "message": "", "lastTransitionTime": when}
        wiped = {"status": {"providerID": "", "nodeName": "", "conditions": [nonsense]}}
        await stage.admin.merge_patch(NODECLAIMS, claim.name, wiped, subresource="status")
        await stage.until("it is as it was", lambda: _is_ready_as(stage, claim.status.provider_id))
        assert await stage.phase("web") == "Running"
        assert len(stage.cloud.purchases) == 1


async def _is_ready_as(stage: Stage, provider_id: str) -> bool:
    claim = await only_claim(stage)
    return claim.condition("Ready") and claim.status.provider_id == provider_id


@pytest.mark.parametrize("early", [("Drained",), ("InstanceTerminating",), ("Drained", "VolumesDetached")], ids=str)
async def test_a_claim_that_was_made_to_say_that_its_node_is_drained_is_drained_all_the_same(
    stage: Stage, early: tuple[str, ...]
) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}
        await stage.admin.create(PDBS, {"metadata": {"name": "web"}, "spec": spec}, stage.namespace)
        claim = await only_claim(stage)
        await _make_it_say(stage, claim.name, early)
        await stage.admin.delete(NODECLAIMS, claim.name)
        await stage.until("it is contradicted", lambda: _is_contradicted(stage, claim.name, early[0]))
        await stage.until("the pod is protected", lambda: _was_told(stage, claim.name, "FailedDraining"))
        assert await stage.phase("web") == "Running"
        assert len(stage.cloud.records()) == 1
        await stage.admin.delete(PDBS, "web", stage.namespace)
        await stage.until("nothing is left", stage.is_empty)


async def _make_it_say(stage: Stage, name: str, conditions: tuple[str, ...]) -> None:
    present = (await stage.admin.get(NODECLAIMS, name))["status"]["conditions"]
    when = {"lastTransitionTime": "2020-01-01T00:00:00Z"}
    early = [{"type": type_, "status": "True", "reason": "Hand", "message": "", **when} for type_ in conditions]
    status = {"status": {"conditions": [*present, *early]}}
    await stage.admin.merge_patch(NODECLAIMS, name, status, subresource="status")


async def _is_contradicted(stage: Stage, name: str, type_: str) -> bool:
    claim = next(each for each in await stage.claims() if each.name == name)
    found = find_condition(claim.status.conditions, type_)
    return found is not None and found.reason == "SetTooEarly" and f"{stage.namespace}/web" in found.message


async def _was_told(stage: Stage, name: str, reason: str) -> bool:
    return reason in await stage.events(name)


async def test_labels_that_somebody_took_off_a_node_and_its_claim_cost_no_pod(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web")
        await until_running(stage, "web")
        claim = await only_claim(stage)
        off = {"metadata": {"labels": dict.fromkeys(claim.metadata.labels)}}
        await stage.admin.merge_patch(NODECLAIMS, claim.name, off)
        await stage.admin.merge_patch(NODES, claim.name, off)
        await _a_look_more(stage)
        assert await stage.phase("web") == "Running"
        assert [each.name for each in await stage.claims()] == [claim.name]
