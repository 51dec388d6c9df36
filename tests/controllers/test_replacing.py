"""Nodes are replaced: the new one is there before the old one goes, and nothing is left of what fails half-way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from autonodes.controllers.replacements import annotation, underway
from autonodes.core.labels import REPLACES
from controllers.claimbook import claim
from controllers.stage import Stage
from controllers.test_disruption import tainted
from controllers.test_program import until_running


def test_a_command_is_read_back_from_its_replacements() -> None:
    told = annotation(id="a@1", reason="Drifted", count=2, goes={"old": "uid-old"})
    (found,) = underway([claim("Initialized", annotations=told)])
    assert (found.id, found.reason, found.goes) == ("a@1", "Drifted", {"old": "uid-old"})
    assert not found.is_complete
    (both,) = underway([claim("Initialized", annotations=told), claim(annotations=told)])
    assert both.is_complete
    assert not both.is_ready


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"id": 1, "goes": 7}'])
def test_an_annotation_that_makes_no_sense_replaces_nothing(text: str) -> None:
    assert not underway([claim(annotations={"autonodes.io/replaces": text})])


@contextlib.asynccontextmanager
async def one_running(stage: Stage, **settings: float) -> AsyncIterator[str]:
    """A controller, with pod ``web`` on its only node: the name of the claim behind it."""
    await stage.node_class()
    await stage.pool()
    async with stage.controller(**settings):
        await stage.pod("web", cpu="1500m")
        await until_running(stage, "web")
        (found,) = await stage.claims()
        yield found.name


async def drift(stage: Stage) -> None:
    """The pool's template is another from now on."""
    await stage.pool(template={"taints": [{"key": "new", "effect": "PreferNoSchedule"}]})


async def drift_until_a_replacement_is_bought(stage: Stage, old: str) -> None:
    """It does not join yet."""
    stage.kubelets.join = False
    await drift(stage)
    await stage.until("a replacement is bought", lambda: _is_waiting_for_the_new_one(stage, old))


async def _names(stage: Stage) -> list[str]:
    return [each.name for each in await stage.claims()]


async def _is_waiting_for_the_new_one(stage: Stage, old: str) -> bool:
    return len(await _names(stage)) == 2 and old in await tainted(stage)


async def _has_gone(stage: Stage, old: str) -> bool:
    names = await _names(stage)
    return old not in names and len(names) == 1


@pytest.mark.integration
async def test_a_drifted_node_goes_when_its_replacement_is_there(stage: Stage) -> None:
    async with one_running(stage) as old:
        await drift_until_a_replacement_is_bought(stage, old)
        assert await stage.phase("web") == "Running"
        stage.kubelets.join = True
        await stage.until("the old one is gone", lambda: _has_gone(stage, old))
        # the new one may be gone, too: a pod without an owner does not come back
        assert len(stage.cloud.purchases) == 2


@pytest.mark.integration
async def test_a_replacement_that_can_not_be_had_leaves_the_old_node_as_it_was(stage: Stage) -> None:
    async with one_running(stage) as old:
        stage.cloud.stock = {(name, zone): 0 for name in ("small", "medium", "large") for zone in ("a", "b")}
        await drift(stage)
        await stage.until("a replacement is tried", lambda: stage.cloud.sold_out)
        await stage.until("the old one is as it was", lambda: _is_as_before(stage, old))
        assert await stage.phase("web") == "Running"
        assert len(stage.cloud.purchases) == 1


async def _is_as_before(stage: Stage, old: str) -> bool:
    return await _names(stage) == [old] and not await tainted(stage)


@pytest.mark.integration
async def test_a_successor_goes_on_where_a_dead_controller_was(stage: Stage) -> None:
    async with one_running(stage) as old:
        await drift_until_a_replacement_is_bought(stage, old)
    stage.kubelets.join = True
    async with stage.controller():
        await stage.until("the old one is gone", lambda: _has_gone(stage, old))
    assert len(stage.cloud.purchases) == 2


@pytest.mark.integration
async def test_a_replacement_that_never_joins_is_given_back_and_the_old_node_stays(stage: Stage) -> None:
    async with one_running(stage, replacement_deadline=2.0) as old:
        await drift_until_a_replacement_is_bought(stage, old)
        await stage.pool()
        await stage.until("the old one is as it was", lambda: _is_as_before(stage, old))
        assert await stage.phase("web") == "Running"


@pytest.mark.integration
async def test_a_badly_used_node_makes_room_for_a_cheaper_one(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        await stage.pod("web", cpu="1500m")
        await stage.pod("large", cpu="3000m")
        await until_running(stage, "web", "large")
        before = {record["instance_type"] for record in stage.cloud.records()}
        assert before & {"medium", "large"}
        await stage.delete_pod("large")
        await stage.until("only a small one is left", lambda: _types(stage) == ["small"])


def _types(stage: Stage) -> list[str]:
    return [record["instance_type"] for record in stage.cloud.records()]


async def test_drifted_nodes_are_replaced_several_at_once_where_the_budget_allows(stage: Stage) -> None:
    """Each by a command of its own: what one decision writes does not put the rest of it out of date."""
    names = [f"web-{number}" for number in range(4)]
    alone = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [alone]}}
    await stage.node_class()
    await stage.pool()
    async with stage.controller():
        for name in names:
            await stage.pod(name, labels={"app": "web"}, affinity=apart)
        for name in names:
            await until_running(stage, name)
        old = {claim.name for claim in await stage.claims()}
        await drift(stage)
        commands: dict[str, set[str]] = {}
        await stage.until("commands for all", lambda: _gather(stage, commands, old), seconds=90)
    assert all(len(goes) == 1 for goes in commands.values())
    decisions = {id.partition("@")[2] for id in commands}
    assert len(decisions) < len(commands), "one after another"


async def _gather(stage: Stage, commands: dict[str, set[str]], old: set[str]) -> bool:
    """Command → what it replaces, of all that were ever begun; whether these are all old nodes."""
    for each in await stage.claims():
        if (text := each.metadata.annotations.get(REPLACES)) is not None:
            told = json.loads(text)
            commands[told["id"]] = set(told["goes"])
    return old == set().union(*commands.values())
