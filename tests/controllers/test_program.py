"""The whole controller on a real API server with a real scheduler: from pending pods to nodes and back to nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autonodes.api.nodeclaim import NodeClaim
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS, NODES, PDBS
from autonodes.provider import CreateError, InsufficientCapacityError, ProviderError
from autonodes.verify.cloud import size
from controllers.stage import CLASS, Stage

pytestmark = pytest.mark.integration


async def runs(stage: Stage, *pods: str) -> bool:
    return all([await stage.phase(pod) == "Running" for pod in pods])


async def until_running(stage: Stage, *pods: str) -> None:
    await stage.until(f"{', '.join(pods)} run", lambda: runs(stage, *pods))


async def only_claim(stage: Stage) -> NodeClaim:
    (claim,) = await stage.claims()
    return claim


async def taint_keys(stage: Stage, node: str) -> set[str]:
    body = await stage.admin.get(NODES, node)
    return {taint["key"] for taint in body["spec"].get("taints") or ()}


async def test_a_pending_pod_gets_a_node_and_the_node_goes_when_the_pod_goes(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.until("its claim is ready", lambda: _condition(stage, "Ready"))
        assert len(stage.cloud.purchases) == 1
        assert not stage.doorman.given
        await stage.delete_pod("web")
        await stage.until("nothing is left", stage.is_empty)
    assert len(stage.cloud.purchases) == 1


async def test_a_node_shows_all_that_its_pool_promises(stage: Stage) -> None:
    taint = {"key": "team", "value": "a", "effect": "NoSchedule"}
    startup = {"key": "cni", "value": "starting", "effect": "NoExecute"}
    await stage.node_class()
    await stage.pool(template={"taints": [taint], "startupTaints": [startup]})
    await stage.pod("web", tolerations=[{"key": "team", "operator": "Exists"}])
    async with stage.controller():
        await stage.until("registered", lambda: _condition(stage, "Registered"))
        claim = await only_claim(stage)
        node = await stage.admin.get(NODES, claim.name)
        labels = node["metadata"]["labels"]
        assert labels["karpenter.sh/nodepool"] == "default"
        assert labels["node.kubernetes.io/instance-type"] == "small"
        assert labels["topology.kubernetes.io/zone"] == "a"
        assert labels["karpenter.sh/capacity-type"] == "on-demand"
        assert labels["karpenter.sh/registered"] == "true"
        assert "karpenter.sh/initialized" not in labels
        assert node["metadata"]["finalizers"] == ["karpenter.sh/termination"]
        assert [owner["uid"] for owner in node["metadata"]["ownerReferences"]] == [claim.metadata.uid]
        assert {"karpenter.sh/nodepool-hash", "karpenter.sh/nodepool-hash-version"} <= set(
            node["metadata"]["annotations"]
        )
        assert await taint_keys(stage, claim.name) - {"node.kubernetes.io/not-ready"} == {"team", "cni"}
        assert claim.status.node_name == claim.name
        await stage.admin.merge_patch(NODES, claim.name, {"spec": {"taints": [taint]}})
        await stage.until("initialized", lambda: _condition(stage, "Initialized"))
        await until_running(stage, "web")


async def _condition(stage: Stage, type_: str) -> bool:
    return any(claim.condition(type_) for claim in await stage.claims())


async def test_pods_of_one_batch_share_a_node_and_pods_in_flight_are_not_bought_for_twice(stage: Stage) -> None:
    stage.kubelets.join = False
    await stage.node_class()
    await stage.pool()
    for index in range(3):
        await stage.pod(f"web-{index}", cpu="600m")
    async with stage.controller():
        await stage.until("launched", lambda: stage.cloud.purchases)
        await asyncio.sleep(2.5)  # the pods are planned again, twice
        assert len(stage.cloud.purchases) == 1
        await stage.pod("late", cpu="100m")  # it fits on the machine that is coming
        await asyncio.sleep(1.5)
        assert len(stage.cloud.purchases) == 1
        stage.kubelets.join = True
        await until_running(stage, "web-0", "web-1", "web-2", "late")
    assert len(stage.cloud.purchases) == 1


async def test_what_is_sold_out_is_bought_elsewhere_and_the_failure_is_told(stage: Stage) -> None:
    stage.cloud.stock = {
        ("small", "a"): 0,
        ("small", "b"): 0,
        ("medium", "a"): 0,
        ("medium", "b"): 0,
        ("large", "a"): 0,
    }
    stage.cloud.stock |= {("large", "b"): 0}
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await stage.until("the failure is told", lambda: _told(stage, "web", "FailedScheduling"))
        assert not stage.cloud.purchases
        await stage.until("no claim stays", lambda: _no_claims(stage))
        stage.cloud.stock, stage.cloud.sold_out = {}, {("small", "a"), ("small", "b")}
        await until_running(stage, "web")
        assert stage.cloud.records()[0]["instance_type"] == "medium"


async def _told(stage: Stage, name: str, reason: str) -> bool:
    return reason in await stage.events(name)


async def _no_claims(stage: Stage) -> bool:
    return not await stage.claims()


async def test_a_launch_that_fails_says_why_and_is_tried_elsewhere(stage: Stage) -> None:
    stage.cloud.fail("create", *[CreateError("QuotaExceeded", "ask for a higher quota")] * 2)
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller(offering_rest=300.0):
        await stage.until("the claim says why", lambda: _says(stage, "Launched", "QuotaExceeded", "ask for a higher"))
        await until_running(stage, "web")
        assert await _told(stage, (await only_claim(stage)).name, "QuotaExceeded")
    assert len(stage.cloud.purchases) == 1
    (machine,) = stage.cloud.records()
    assert (machine["instance_type"], machine["zone"]) == ("medium", "a")  # both zones of the small one were refused


async def test_a_refusal_that_was_misread_holds_a_pool_up_for_one_rest(stage: Stage) -> None:
    stage.cloud.fail("create", InsufficientCapacityError("an account without permissions looks like this"))
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
    assert len(stage.cloud.purchases) == 1


async def _says(stage: Stage, type_: str, reason: str, message: str) -> bool:
    return any(
        each.type == type_ and each.reason == reason and message in each.message
        for claim in await stage.claims()
        for each in claim.status.conditions
    )


async def test_a_lost_answer_does_not_buy_twice(stage: Stage) -> None:
    stage.cloud.lost_answers = 1
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
    assert len(stage.cloud.purchases) == 1


async def test_nothing_is_bought_without_a_price(stage: Stage) -> None:
    free = size("free", 4, price=0.1)
    stage.cloud.sizes = (_priceless(free),)
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await stage.until("the pod is told", lambda: _told(stage, "web", "FailedScheduling"))
        assert not await stage.claims()


def _priceless(type_: Any) -> Any:
    from dataclasses import replace

    return replace(type_, offerings=tuple(replace(each, price=None) for each in type_.offerings))


async def test_a_pool_whose_node_class_is_not_ready_buys_nothing_and_says_so(stage: Stage) -> None:
    stage.cloud.not_ready = "the image does not exist"
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await stage.until("the pool says so", lambda: _pool_says(stage, "NodeClassReady", "False", "image does not"))
        assert await _pool_says(stage, "Ready", "False", "")
        await stage.until("the pod is told", lambda: _told(stage, "web", "FailedScheduling"))
        assert not await stage.claims()
        stage.cloud.not_ready = ""
        await stage.admin.merge_patch(CLASS, "default", {"metadata": {"annotations": {"look": "again"}}})
        await until_running(stage, "web")
        assert await _pool_says(stage, "Ready", "True", "")
        await stage.until("health is known", lambda: _pool_says(stage, "NodeRegistrationHealthy", "True", ""))


async def _pool_says(stage: Stage, type_: str, status: str, message: str) -> bool:
    pool = await stage.admin.get(NODEPOOLS, "default")
    return any(
        each["type"] == type_ and each["status"] == status and message in each["message"]
        for each in pool.get("status", {}).get("conditions", ())
    )


async def test_a_pool_counts_its_nodes_and_bears_its_hash(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.until("one node is counted", lambda: _counts(stage, 1, {"cpu": "2", "nodes": "1", "pods": "110"}))
        pool = await stage.admin.get(NODEPOOLS, "default")
        claim = await only_claim(stage)
        hash_ = "karpenter.sh/nodepool-hash"
        assert pool["metadata"]["annotations"][hash_] == claim.metadata.annotations[hash_]
        await stage.delete_pod("web")
        await stage.until("none is counted", lambda: _counts(stage, 0, {"nodes": "0"}))


async def _counts(stage: Stage, nodes: int, resources: dict[str, str]) -> bool:
    status = (await stage.admin.get(NODEPOOLS, "default")).get("status", {})
    return status.get("nodes") == nodes and resources.items() <= status.get("resources", {}).items()


async def test_the_limit_of_a_pool_holds(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(limits={"cpu": "4"})
    for index in range(5):
        await stage.pod(f"web-{index}", cpu="1500m")
    async with stage.controller():
        await stage.until("the rest is told", lambda: _told_of_any(stage, "FailedScheduling"))
        await asyncio.sleep(2.5)
        assert sum(record["capacity"]["cpu"] for record in stage.cloud.records()) <= 4000
        assert stage.cloud.records()


async def _told_of_any(stage: Stage, reason: str) -> bool:
    return any([await _told(stage, f"web-{index}", reason) for index in range(5)])


async def test_deleting_a_claim_drains_its_node_first_and_honours_the_budget(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await _budget(stage, "web", allowed=0)
        claim = await only_claim(stage)
        await stage.admin.delete(NODECLAIMS, claim.name)
        await stage.until("cordoned", lambda: _is_tainted(stage, claim.name))
        await stage.until("the budget is told", lambda: _told(stage, claim.name, "FailedDraining"))
        assert await stage.phase("web") == "Running"
        assert len(stage.cloud.records()) == 1
        await _allow(stage, "web")
        await stage.until("the claim is gone", lambda: _is_gone(stage, claim.name))
    assert not [record for record in stage.cloud.records() if record["claim_name"] == claim.name]


async def _is_tainted(stage: Stage, node: str) -> bool:
    return "karpenter.sh/disrupted" in await taint_keys(stage, node)


async def _is_gone(stage: Stage, name: str) -> bool:
    return all(claim.name != name for claim in await stage.claims())


async def _budget(stage: Stage, app: str, *, allowed: int) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}}
    await stage.admin.create(PDBS, {"metadata": {"name": app}, "spec": spec}, stage.namespace)
    await _allow(stage, app, allowed=allowed)


async def _allow(stage: Stage, name: str, *, allowed: int = 1) -> None:
    """What the disruption controller would find out."""
    numbers = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    status = {"status": {**numbers, "observedGeneration": 1}}
    await stage.admin.merge_patch(PDBS, name, status, stage.namespace, subresource="status")


async def test_past_its_grace_period_a_node_goes_whatever_a_budget_says(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool(template={"terminationGracePeriod": "3s"})
    await stage.pod("web", terminationGracePeriodSeconds=1)
    async with stage.controller():
        await until_running(stage, "web")
        await _budget(stage, "web", allowed=0)
        claim = await only_claim(stage)
        await stage.admin.delete(NODECLAIMS, claim.name)
        await stage.until("the claim is gone", lambda: _is_gone(stage, claim.name))


async def test_deleting_a_node_deletes_its_claim_and_its_machine(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web", annotations={"karpenter.sh/do-not-disrupt": "true"})
    async with stage.controller():
        await until_running(stage, "web")
        claim = await only_claim(stage)
        await stage.admin.delete(NODES, claim.name)
        await stage.until("nothing is left", stage.is_empty)


async def test_a_node_that_somebody_removed_by_force_takes_its_machine_along(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        claim = await only_claim(stage)
        stage.kubelets.join = False
        await stage.admin.merge_patch(NODES, claim.name, {"metadata": {"finalizers": None}})
        await stage.admin.delete(NODES, claim.name)
        await stage.until("the claim is gone", lambda: _is_gone(stage, claim.name))
    assert not stage.cloud.records()


async def test_the_finalizer_holds_until_the_provider_says_not_found(stage: Stage) -> None:
    stage.cloud.deletion_takes = 5
    stage.cloud.fail("delete", ProviderError("throttled"))
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.delete_pod("web")
        await stage.until("nothing is left", stage.is_empty)
    assert stage.cloud.calls.count("delete") == 7


async def test_a_machine_that_does_not_join_in_time_is_given_back(stage: Stage) -> None:
    stage.kubelets.join = False
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller(registration_deadline=2.0):
        await stage.until("bought", lambda: len(stage.cloud.purchases) == 1)
        first = (await stage.claims())[0].name
        await stage.until("the first is given up", lambda: _is_gone(stage, first))
        assert await _told(stage, first, "RegistrationTimeout")
        await stage.until("another is bought", lambda: len(stage.cloud.purchases) >= 2)
        stage.kubelets.join = True
        await until_running(stage, "web")
        await stage.until("the rest is given back", lambda: len(stage.cloud.records()) == 1)


async def test_a_claim_that_can_not_be_launched_in_time_is_deleted(stage: Stage) -> None:
    stage.cloud.fail("create", *[ProviderError("down")] * 1000)
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller(launch_deadline=2.0):
        await stage.until("a claim is there", stage.claims)
        first = (await stage.claims())[0].name
        await stage.until("it is given up", lambda: _is_gone(stage, first))
        assert await _told(stage, first, "LaunchTimeout")
    assert not stage.cloud.purchases


async def test_deletions_go_on_after_a_restart(stage: Stage) -> None:
    stage.cloud.deletion_takes = 10_000
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    async with stage.controller():
        await until_running(stage, "web")
        await stage.delete_pod("web")
        await stage.until("the machine is being deleted", lambda: "delete" in stage.cloud.calls)
    assert len(await stage.claims()) == 1
    stage.cloud.deletion_takes = 1
    async with stage.controller():
        await stage.until("nothing is left", stage.is_empty)


async def test_a_claim_written_by_hand_is_served_like_any_other(stage: Stage) -> None:
    await stage.node_class()
    spec = {
        "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["medium"]}],
        "nodeClassRef": {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"},
    }
    async with stage.controller():
        await stage.until("the class is checked", lambda: _class_is_ready(stage))
        body = {**NodeClaim.type_meta(), "metadata": {"name": "by-hand"}, "spec": spec}
        await stage.admin.create(NODECLAIMS, body)
        await stage.until("it is ready", lambda: _condition(stage, "Ready"))
        assert stage.cloud.records()[0]["instance_type"] == "medium"
        await stage.admin.delete(NODECLAIMS, "by-hand")
        await stage.until("nothing is left", stage.is_empty)


async def _class_is_ready(stage: Stage) -> bool:
    body = await stage.admin.get(CLASS, "default")
    return any(each["status"] == "True" for each in body.get("status", {}).get("conditions", ()))


async def test_what_another_karpenter_manages_is_left_alone(stage: Stage) -> None:
    foreign = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
    await stage.node_class()
    await stage.pool("foreign", template={"nodeClassRef": foreign})
    body = {
        **NodeClaim.type_meta(),
        "metadata": {"name": "foreign-1"},
        "spec": {"requirements": [], "nodeClassRef": foreign},
    }
    async with stage.controller():
        await stage.admin.create(NODECLAIMS, body)
        await stage.pool()
        await stage.pod("web")
        await until_running(stage, "web")
        claim = await stage.admin.get(NODECLAIMS, "foreign-1")
        assert "finalizers" not in claim["metadata"]
        assert not claim.get("status", {}).get("conditions")
        assert not (await stage.admin.get(NODEPOOLS, "foreign")).get("status", {}).get("conditions")
