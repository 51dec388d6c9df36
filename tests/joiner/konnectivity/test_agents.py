"""Which agent gets a dial."""

from __future__ import annotations

import asyncio

import pytest

from joiner.konnectivity.agents import Agents, NoAgentError
from joiner.konnectivity.backend import Backend


class SilentStream:
    """Of an agent that says nothing."""

    async def read(self) -> object:
        return await asyncio.Event().wait()

    async def write(self, message: bytes) -> None:
        pass


def agent(*hosts: str, addresses: tuple[str, ...] = ()) -> Backend:
    return Backend(SilentStream(), window=1, peer_window=1, agent_id="a", hosts=hosts, addresses=addresses)


def registry(*agents: Backend) -> Agents:
    made = Agents()
    for each in agents:
        made.add(each)
    return made


async def test_a_node_is_reached_through_its_own_agent() -> None:
    one, two = agent("node-1"), agent("node-2")
    agents = registry(one, two)
    assert agents.route("node-1") is one
    assert agents.route("node-2") is two


async def test_a_node_without_agent_is_refused_and_never_reached_through_another() -> None:
    agents = registry(agent("node-1"))
    for host in ("node-2", "node-2.example.com", "localhost", "node-1.evil"):
        with pytest.raises(NoAgentError, match=host):
            agents.route(host)


async def test_an_address_goes_to_the_agent_that_has_it() -> None:
    one, two = agent("node-1", addresses=("10.0.0.1",)), agent("node-2", addresses=("10.0.0.2", "fd00::2"))
    agents = registry(one, two)
    assert agents.route("10.0.0.2") is two
    assert agents.route("fd00::2") is two


async def test_an_address_of_several_nodes_is_refused() -> None:
    agents = registry(agent("node-2", addresses=("10.0.2.15",)), agent("node-1", addresses=("10.0.2.15",)))
    with pytest.raises(NoAgentError, match=r"10\.0\.2\.15 is that of several nodes \(node-1, node-2\)"):
        agents.route("10.0.2.15")


async def test_an_address_of_several_agents_of_one_node_is_not_ambiguous() -> None:
    old, new = (agent("node-1", addresses=("10.0.2.15",)) for _ in range(2))
    assert registry(old, new).route("10.0.2.15") is new


@pytest.mark.parametrize("host", ["10.96.0.1", "fd00::9", "hook.default.svc", "hook.default.svc.cluster.local"])
async def test_addresses_and_services_go_to_any_agent(host: str) -> None:
    one, two = agent("node-1"), agent("node-2")
    agents = registry(one, two)
    assert {agents.route(host) for _ in range(60)} == {one, two}


async def test_without_agents_nothing_goes_anywhere() -> None:
    with pytest.raises(NoAgentError, match="no konnectivity agent is connected"):
        registry().route("10.96.0.1")


async def test_a_name_in_an_address_identifier_draws_no_node() -> None:
    agents = registry(agent("node-1", addresses=("node-2",)))
    with pytest.raises(NoAgentError):
        agents.route("node-2")


async def test_the_latest_agent_of_a_node_is_preferred() -> None:
    old, new = agent("node-1"), agent("node-1")
    agents = registry(old, new)
    assert agents.route("node-1") is new
    agents.remove(new)
    assert agents.route("node-1") is old


async def test_a_draining_agent_is_the_last_resort() -> None:
    staying, leaving = agent("node-1"), agent("node-1")
    leaving.draining = True
    agents = registry(staying, leaving)
    assert agents.route("node-1") is staying
    assert {agents.route("10.0.0.1") for _ in range(30)} == {staying}
    agents.remove(staying)
    assert agents.route("node-1") is leaving
    assert agents.route("10.0.0.1") is leaving
