"""Which pods are nominated to which nodes, and when nodes open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autonodes.controllers.nominating import LONGEST, PATIENCE, Nominating, version_of
from autonodes.core.labels import REGISTERED, UNREGISTERED_TAINT
from autonodes.core.model import Node, Pod, PodUID, Taint
from autonodes.kube.cache import Change
from autonodes.kube.errors import ApiError, ConflictError, InvalidError, ServerError
from clock import VirtualClock
from controllers.claimbook import claim


def pod(name: str, nominated: str = "") -> Pod:
    return Pod(
        uid=PodUID(name), namespace="default", name=name, requests={}, nominated_node=nominated, unschedulable=True
    )


GUARD = Taint(UNREGISTERED_TAINT, "", "NoExecute")


def node(name: str, *, ready: bool = False, registered: bool = True) -> Node:
    """A new one, whose other taint is another's."""
    labels = {REGISTERED: "true"} if registered else {}
    return Node(name=name, ready=ready, labels=labels, taints=(Taint("example.com/new", "", "NoSchedule"), GUARD))


class Server:
    """Writes down who was nominated to what, and which nodes were opened after how many nominations.

    :ivar shows: tells the watch of a nomination
    :ivar bodies: of nodes that are not as the watch shows them
    """

    def __init__(self, minor: str = "37", **refusals: ApiError) -> None:
        self.minor, self.refusals = minor, refusals
        self.nominated: dict[str, str | None] = {}
        self.opened: dict[str, int] = {}
        self.shows: Callable[[str, str], None] = lambda name, target: None
        self.bodies: dict[str, dict[str, Any]] = {}

    async def version(self) -> dict[str, str]:
        return {"major": "1", "minor": self.minor}

    async def merge_patch(self, resource: Any, name: str, patch: Any, namespace: str, *, subresource: str) -> None:
        assert (str(resource), namespace, subresource) == ("pods", "default", "status")
        assert patch["metadata"] == {"uid": name}
        if name in self.refusals:
            raise self.refusals[name]
        self.nominated[name] = patch["status"]["nominatedNodeName"]
        self.shows(name, patch["status"]["nominatedNodeName"] or "")

    async def get(self, resource: Any, name: str) -> dict[str, Any]:
        assert str(resource) == "nodes"
        return self.bodies.get(name) or body()

    async def json_patch(self, resource: Any, name: str, patch: Any) -> None:
        *tests, removal = patch
        assert (str(resource), removal["op"]) == ("nodes", "remove")
        assert removal["path"] == tests[1]["path"].removesuffix("/key")
        assert [each["value"] for each in tests] == ["true", UNREGISTERED_TAINT]
        if name in self.refusals:
            raise self.refusals[name]
        taints = self.bodies.get(name, body())["spec"]["taints"]
        place = int(removal["path"].rpartition("/")[2])
        if place >= len(taints) or taints[place]["key"] != UNREGISTERED_TAINT:
            raise InvalidError("a test failed")
        self.opened[name] = len(self.nominated)


def body(*taints: str) -> dict[str, Any]:
    """A registered node with these taints, as the API server has it."""
    listed = [{"key": key} for key in taints or ("example.com/new", UNREGISTERED_TAINT)]
    return {"metadata": {"labels": {REGISTERED: "true"}}, "spec": {"taints": listed}}


class Scene:
    """:param nodes: names of those that are there
    :param coming: names of claims whose nodes have not registered
    """

    def __init__(
        self,
        *pods: Pod,
        server: Server | None = None,
        nodes: tuple[str, ...] = ("n1", "n2"),
        coming: tuple[str, ...] = (),
    ) -> None:
        self.server, self.promised, self.clock = server or Server(), asyncio.Event(), VirtualClock()
        self.promises: Mapping[PodUID, str] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.woken: list[str] = []
        self.followers: list[Callable[[Change[Pod]], None]] = []
        self.state = SimpleNamespace(
            nodes=SimpleNamespace(items={name: node(name) for name in nodes}),
            pods=SimpleNamespace(subscribe=self.followers.append),
            nodeclaims=SimpleNamespace(items={name: claim() for name in coming}),
        )
        self.show(*pods)
        self.nominating = Nominating(
            cast(Any, self.server),
            cast(Any, self.state),
            lambda: self.promises,
            self.promised,
            self.woken.append,
            self.clock,
        )
        self.nominating.subscribe()

    def lag(self, seconds: float) -> None:
        """Let the watch show nominations so long after they are written."""
        loop = asyncio.get_running_loop()

        async def later(name: str, target: str) -> None:
            await self.clock.sleep(seconds)
            self.watch(pod(name, target))

        self.server.shows = lambda name, target: self.tasks.append(loop.create_task(later(name, target)))

    def watch(self, new: Pod) -> None:
        """The watch tells of a change."""
        change = Change(new.key, self.state.pending[new.key], new)
        self.state.pending[new.key] = new
        for follow in self.followers:
            follow(change)

    def show(self, *pods: Pod) -> None:
        self.state.pending = {each.key: each for each in pods}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.nominating.run())
        try:
            yield
        finally:
            task.cancel()

    async def promise(self, **promises: str) -> Mapping[str, str | None]:
        """What is written for these promises."""
        self.server.nominated.clear()
        self.promises = {PodUID(name): target for name, target in promises.items()}
        self.promised.set()
        async with self.running():
            await self.clock.advance(1)
        return dict(self.server.nominated)


async def test_a_pod_is_nominated_to_what_it_was_promised_and_only_once() -> None:
    scene = Scene(pod("a"), pod("b"))
    assert await scene.promise(a="n1") == {"a": "n1"}
    scene.show(pod("a", "n1"), pod("b"))
    assert await scene.promise(a="n1") == {}


async def test_a_promise_that_is_dropped_is_taken_back() -> None:
    scene = Scene(pod("a"))
    await scene.promise(a="n1")
    scene.show(pod("a", "n1"))
    assert await scene.promise() == {"a": None}


async def test_a_new_promise_replaces_the_old_one_though_its_node_is_there() -> None:
    scene = Scene(pod("a"))
    await scene.promise(a="n1")
    scene.show(pod("a", "n1"))
    assert await scene.promise(a="n2") == {"a": "n2"}


async def test_what_the_scheduler_nominated_is_left_alone() -> None:
    scene = Scene(pod("a", "n1"), pod("b", "n1"))
    assert await scene.promise(a="n2") == {}


async def test_a_nomination_of_an_earlier_process_to_a_node_that_never_came_is_taken_back() -> None:
    assert await Scene(pod("a", "n0")).promise() == {"a": None}


@pytest.mark.parametrize("error", [ConflictError("another uid"), ServerError("busy")])
async def test_a_pod_that_can_not_be_written_keeps_no_other_waiting(error: ApiError) -> None:
    scene = Scene(pod("a"), pod("b"), server=Server(a=error))
    assert await scene.promise(a="n1", b="n1") == {"b": "n1"}
    scene.server.refusals.clear()
    assert (await scene.promise(a="n1", b="n1"))["a"] == "n1"


@pytest.mark.parametrize(("minor", "written"), [("34", False), ("35+", True), ("37", True)])
async def test_only_a_scheduler_that_honours_nominations_gets_any(minor: str, written: bool) -> None:
    scene = Scene(pod("a"), server=Server(minor), coming=("n1", "n2"))
    assert await scene.promise(a="n1") == ({"a": "n1"} if written else {})
    assert scene.nominating.may_open(node("n1", ready=True)) is not written


async def test_a_pod_is_not_nominated_before_its_node_is_there() -> None:
    assert await Scene(pod("a"), nodes=(), coming=("n1",)).promise(a="n1") == {}


async def test_the_nodes_that_were_promised_open_together_after_their_pods_are_nominated() -> None:
    scene = Scene(pod("a"), pod("b"), coming=("n1", "n2"))
    scene.promises = {PodUID("a"): "n1", PodUID("b"): "n2"}
    scene.lag(2.0)
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(PATIENCE / 2)
        assert scene.woken == []
        assert not scene.nominating.may_open(Node(name="n2"))
        await scene.clock.advance(0.2)
        assert scene.woken == []
        assert not scene.nominating.may_open(node("n2", ready=True))
        await scene.clock.advance(0.2)
        assert scene.server.nominated == {"a": "n1", "b": "n2"}
        assert scene.server.opened == {}
        await scene.clock.advance(0.3)
        assert scene.server.opened == {"n1": 2, "n2": 2}
        assert sorted(scene.woken) == ["n1", "n2"]
        assert scene.nominating.may_open(node("n2", ready=True))


async def test_the_only_node_of_a_plan_opens_though_it_is_not_ready() -> None:
    scene = Scene(pod("a"), coming=("n1",))
    scene.promises = {PodUID("a"): "n1"}
    scene.lag(0)
    async with scene.running():
        assert not scene.nominating.may_open(Node(name="n1"))
        await scene.clock.advance(0.2)
    assert (scene.woken, scene.server.nominated) == (["n1"], {"a": "n1"})


async def test_a_node_does_not_wait_for_ever() -> None:
    scene = Scene(pod("a"), pod("b"), coming=("n1", "n2"))
    scene.promises = {PodUID("a"): "n1", PodUID("b"): "n2"}
    scene.lag(0)
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(PATIENCE - 0.1)
        assert scene.woken == []
        await scene.clock.advance(0.2)
    assert scene.woken == ["n1"]


async def test_as_long_as_others_come_a_node_waits_but_not_longer_than_that() -> None:
    names = tuple(f"n{number}" for number in range(8))
    scene = Scene(*(pod(name) for name in names), coming=names, nodes=names)
    scene.promises = {PodUID(name): name for name in names}
    scene.lag(0)
    async with scene.running():
        for name in names[:5]:
            assert not scene.nominating.may_open(node(name, ready=True))
            await scene.clock.advance(PATIENCE - 1)
            assert scene.woken == [] or scene.clock.now() - 1_700_000_000.0 >= LONGEST
    assert sorted(scene.woken) == list(names[:5])


async def test_a_nomination_that_never_shows_keeps_no_node_closed() -> None:
    scene = Scene(pod("a"), coming=("n1",))
    scene.promises = {PodUID("a"): "n1"}
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(11)
    assert scene.woken == ["n1"]


async def test_a_pod_that_is_tried_in_vain_meanwhile_is_nominated_again_before_its_node_opens() -> None:
    scene = Scene(pod("a"), pod("b"), coming=("n1",))
    scene.promises = {PodUID("a"): "n1", PodUID("b"): "n1"}
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(0.1)
        scene.watch(pod("a", "n1"))
        await scene.clock.advance(0.1)
        scene.server.nominated.clear()
        scene.watch(pod("a"))
        await scene.clock.advance(0.1)
        assert (scene.server.nominated, scene.server.opened) == ({"a": "n1"}, {})
        scene.watch(pod("b", "n1"))
        await scene.clock.advance(0.1)
        assert scene.server.opened == {}
        scene.watch(pod("a", "n1"))
        await scene.clock.advance(0.1)
    assert list(scene.server.opened) == ["n1"]


async def test_a_node_that_can_not_be_opened_at_once_is_left_to_its_registration() -> None:
    scene = Scene(pod("a"), server=Server(n1=InvalidError("a test failed")), coming=("n1",))
    scene.promises = {PodUID("a"): "n1"}
    scene.lag(0)
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(0.2)
    assert scene.nominating.may_open(node("n1", ready=True))
    assert (scene.woken, scene.server.opened) == (["n1"], {})


async def test_a_node_opens_though_its_taints_are_not_where_the_watch_saw_them() -> None:
    scene = Scene(pod("a"), coming=("n1",))
    scene.server.bodies["n1"] = body(UNREGISTERED_TAINT)
    scene.promises = {PodUID("a"): "n1"}
    scene.lag(0)
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        await scene.clock.advance(0.2)
    assert list(scene.server.opened) == ["n1"]


async def test_nodes_wait_for_one_that_is_ready_but_not_yet_the_claims() -> None:
    scene = Scene(pod("a"), pod("b"), coming=("n1", "n2"))
    scene.promises = {PodUID("a"): "n1", PodUID("b"): "n2"}
    scene.lag(0)
    async with scene.running():
        assert not scene.nominating.may_open(node("n1", ready=True))
        assert not scene.nominating.may_open(node("n2", ready=True, registered=False))
        await scene.clock.advance(0.2)
        assert (scene.woken, scene.server.opened) == ([], {})
        assert not scene.nominating.may_open(node("n2", ready=True))
        await scene.clock.advance(0.2)
    assert sorted(scene.server.opened) == ["n1", "n2"]


async def test_a_node_that_nobody_was_promised_opens_at_once() -> None:
    scene = Scene(pod("a"), coming=("n1", "n2"))
    scene.promises = {PodUID("a"): "n1"}
    async with scene.running():
        assert not scene.nominating.may_open(Node(name="n2"))
        await scene.clock.advance(0.2)
    assert scene.woken == ["n2"]


async def test_a_nomination_that_a_failed_attempt_has_cleared_is_written_again() -> None:
    scene = Scene(pod("a"))
    await scene.promise(a="n1")
    scene.server.nominated.clear()
    for follow in scene.followers:
        follow(Change("default/a", pod("a", "n1"), pod("a")))
    async with scene.running():
        await scene.clock.advance(1)
    assert scene.server.nominated == {"a": "n1"}


def test_a_version_that_can_not_be_read_is_too_old() -> None:
    assert version_of({"major": "1", "minor": "x"}) == (1, 0)
    assert version_of({}) == (0, 0)
