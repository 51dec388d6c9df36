"""Pools of several providers in one cluster: the price decides, what is sold out is made up for elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autonodes.kube.resources import node_class
from autonodes.provider import NodeClassNotReadyError
from autonodes.verify.cloud import Cloud, size
from controllers.stage import Stage

pytestmark = pytest.mark.integration

KINDS = ("KwokNodeClass", "LibvirtNodeClass")


class Elsewhere(Cloud):
    """A cloud whose node classes are of another kind."""

    def __init__(self, directory: Path, kind: str, *, price: float, **given: Any) -> None:
        super().__init__(directory, sizes=(size("box", 2, price=price),), **given)
        self.node_class_kind = kind


async def pools(stage: Stage, **weights: int) -> None:
    """One for each kind, called like it, and a node class."""
    for kind in ("LocalNodeClass", *KINDS):
        spec = {"hypervisors": [{"uri": "test:///default"}]} if kind == "LibvirtNodeClass" else {}
        await stage.admin.apply(node_class(kind), {"metadata": {"name": "default"}, "spec": spec}, field_manager="test")
        template = {"nodeClassRef": {"group": "autonodes.io", "kind": kind, "name": "default"}}
        weight = {"weight": weights[kind]} if kind in weights else {}
        await stage.pool(kind.lower(), template=template, **weight)


async def bought(stage: Stage, count: int) -> dict[str, int]:
    """How many registered nodes each pool has, once there are so many."""

    async def counted() -> dict[str, int] | None:
        claims = await stage.claims()
        ready = [each for each in claims if each.condition("Registered") and not each.metadata.deletion_timestamp]
        if len(ready) < count:
            return None
        return {pool: sum(each.pool == pool for each in ready) for pool in {each.pool for each in ready}}

    found: dict[str, int] = await stage.until(f"{count} nodes", counted)
    return found


async def test_the_cheapest_provider_sells_first_and_when_it_is_sold_out_the_next_cheapest_does(
    stage: Stage, tmp_path: Path
) -> None:
    metal = Elsewhere(tmp_path / "metal", KINDS[0], price=0.02, stock={("box", "a"): 1, ("box", "b"): 0})
    machines = Elsewhere(tmp_path / "vms", KINDS[1], price=0.05, stock={("box", "a"): 0, ("box", "b"): 2})
    stage.cloud.sizes = (size("small", 2, price=0.1),)
    await pools(stage)
    for number in range(5):
        await stage.pod(f"pod-{number}", cpu="1500m")
    async with stage.controller(others=(metal, machines)):
        found = await bought(stage, 5)
        assert found == {"kwoknodeclass": 1, "libvirtnodeclass": 2, "localnodeclass": 2}
        for number in range(5):
            await stage.until("it runs", lambda number=number: _runs(stage, f"pod-{number}"))
    assert [len(each.purchases) for each in (metal, machines, stage.cloud)] == [1, 2, 2]


async def test_a_provider_that_can_not_be_used_keeps_no_other_from_selling(stage: Stage, tmp_path: Path) -> None:
    broken = Elsewhere(tmp_path / "metal", KINDS[0], price=0.01)
    broken.not_ready = "wrong credentials"
    gone = Elsewhere(tmp_path / "vms", KINDS[1], price=0.01)
    gone.fail("instance_types", *[NodeClassNotReadyError("no answer")] * 10_000)
    gone.fail("list", *[NodeClassNotReadyError("no answer")] * 10_000)
    await pools(stage)
    await stage.pod("pod", cpu="1500m")
    async with stage.controller(others=(broken, gone)):
        assert await bought(stage, 1) == {"localnodeclass": 1}
        await stage.until("it runs", lambda: _runs(stage, "pod"))
        (faulty,) = [await stage.admin.get(node_class(KINDS[0]), "default")]
        (ready,) = [each for each in faulty["status"]["conditions"] if each["type"] == "Ready"]
        assert (ready["status"], ready["message"]) == ("False", "wrong credentials")


async def test_a_heavier_pool_sells_before_a_cheaper_one(stage: Stage, tmp_path: Path) -> None:
    metal = Elsewhere(tmp_path / "metal", KINDS[0], price=0.01)
    machines = Elsewhere(tmp_path / "vms", KINDS[1], price=0.05)
    await pools(stage, LibvirtNodeClass=10)
    await stage.pod("pod", cpu="1500m")
    async with stage.controller(others=(metal, machines)):
        assert await bought(stage, 1) == {"libvirtnodeclass": 1}


async def _runs(stage: Stage, name: str) -> bool:
    return await stage.phase(name) == "Running"
