"""What lost its counterpart is found, and nothing is destroyed on one witness."""

from __future__ import annotations

import asyncio

import pytest

from autonodes.kube.resources import NODECLAIMS, NODES
from autonodes.provider import ProviderError
from controllers.stage import Stage
from controllers.test_program import until_running

pytestmark = pytest.mark.integration


async def served(stage: Stage) -> str:
    """A pod runs; the name of its claim."""
    await stage.node_class()
    await stage.pool()
    await stage.pod("web")
    await until_running(stage, "web")
    await stage.until("ready", lambda: _is_ready(stage))
    (claim,) = await stage.claims()
    return claim.name


async def _is_ready(stage: Stage) -> bool:
    return all(claim.condition("Ready") for claim in await stage.claims())


async def exists(stage: Stage, name: str) -> bool:
    return any(claim.name == name for claim in await stage.claims())


async def test_a_machine_that_nobody_claims_is_deleted_when_it_is_old_enough(stage: Stage) -> None:
    old, young = stage.cloud.abandon(age=60), stage.cloud.abandon(age=0)
    async with stage.controller(collection_grace=3600.0, collection_interval=0.2) as program:
        await stage.until("a round is over", lambda: stage.cloud.calls.count("list") >= 2)
        assert len(stage.cloud.records()) == 2
        del program
    async with stage.controller(collection_grace=30.0):
        await stage.until("the old one is gone", lambda: len(stage.cloud.records()) == 1)
    assert old != young
    assert stage.cloud.records()[0]["provider_id"] == young


async def test_a_second_machine_of_a_claim_is_deleted_and_the_first_stays(stage: Stage) -> None:
    async with stage.controller() as program:
        name = await served(stage)
        (claim,) = await stage.claims()
        stage.cloud.abandon(age=60, claim_uid=claim.metadata.uid)
        program.collection.trigger()
        await stage.until("one is left", lambda: len(stage.cloud.records()) == 1)
        assert stage.cloud.records()[0]["provider_id"] == claim.status.provider_id
        assert await exists(stage, name)


async def test_a_claim_whose_machine_is_gone_is_deleted_when_its_node_is_silent(stage: Stage) -> None:
    async with stage.controller() as program:
        name = await served(stage)
        stage.cloud.vanish(stage.cloud.records()[0]["provider_id"])
        await stage.until("the node is silent", lambda: _is_silent(stage, name))
        program.collection.trigger()
        await stage.until("the claim is gone", lambda: _is_gone(stage, name))


async def _is_gone(stage: Stage, name: str) -> bool:
    return not await exists(stage, name)


async def _is_silent(stage: Stage, name: str) -> bool:
    node = await stage.admin.get(NODES, name)
    return any(each["type"] == "Ready" and each["status"] != "True" for each in node["status"]["conditions"])


async def test_the_providers_word_alone_destroys_nothing(stage: Stage) -> None:
    """Its list lacks the machine, but the kubelet answers."""
    async with stage.controller() as program:
        name = await served(stage)
        async with stage.kubelets.at_work:
            record = stage.cloud.records()[0]
            stage.cloud.vanish(record["provider_id"])
            lists = stage.cloud.calls.count("list")
            program.collection.trigger()
            await stage.until("a round is over", lambda: stage.cloud.calls.count("list") > lists)
            await asyncio.sleep(0.5)
            (claim,) = await stage.claims()
            assert (claim.name, claim.metadata.deletion_timestamp) == (name, None)
            stage.cloud.restore(record)


async def test_nothing_is_destroyed_while_the_provider_can_not_be_counted(stage: Stage) -> None:
    stage.cloud.abandon(age=60)
    stage.cloud.fail("list", *[ProviderError("throttled")] * 3)
    async with stage.controller() as program:
        for round_ in range(1, 4):
            await stage.until("a round is over", lambda times=round_: stage.cloud.calls.count("list") >= times)
            assert len(stage.cloud.records()) == 1
            program.collection.trigger()
        await stage.until("it is gone", lambda: not stage.cloud.records())


async def test_a_node_without_claim_and_machine_is_removed(stage: Stage) -> None:
    async with stage.controller():
        name = await served(stage)
    stage.cloud.vanish(stage.cloud.records()[0]["provider_id"])
    await stage.admin.merge_patch(NODECLAIMS, name, {"metadata": {"finalizers": None}})
    await stage.admin.delete(NODECLAIMS, name)
    await stage.until("the claim is gone", lambda: _is_gone(stage, name))
    async with stage.controller() as program:
        await stage.until("the node is silent", lambda: _is_silent_or_gone(stage, name))
        program.collection.trigger()
        await stage.until("the node is gone", lambda: _node_is_gone(stage, name))


async def _is_silent_or_gone(stage: Stage, name: str) -> bool:
    return await _node_is_gone(stage, name) or await _is_silent(stage, name)


async def _node_is_gone(stage: Stage, name: str) -> bool:
    return all(node["metadata"]["name"] != name for node in await stage.nodes())


async def test_a_node_that_was_never_registered_is_removed_with_its_claim_and_machine_gone(stage: Stage) -> None:
    """A second machine of a claim joined in its name before it was found out."""
    taint = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}
    body = {"metadata": {"name": "twin"}, "spec": {"providerID": "cloud://twin", "taints": [taint]}}
    await stage.admin.create(NODES, body)
    async with stage.controller() as program:
        await stage.until("a round is over", lambda: stage.cloud.calls.count("list") >= 1)
        program.collection.trigger()
        await stage.until("the node is gone", lambda: _node_is_gone(stage, "twin"))
