"""Which agent gets a dial.

A host is either an address, a service's DNS name, or the name of a node: kube-apiserver's egress selector has no
others for the cluster's network (webhooks by URL go out through its control plane egress). A node can be reached
through its own agent only, for its address may be the same as another's behind another NAT; so without that agent the
dial fails at once and says so. Everything else is inside the cluster's network, which any agent reaches.

An API server that prefers nodes' addresses to their names works too, as long as no two nodes have the same: an address
that several nodes' agents claim is refused, for there is no telling which of them is meant.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from joiner.konnectivity.backend import Backend
from joiner.konnectivity.dialing import is_ip


class NoAgentError(Exception):
    """Nobody to dial through; the text is for the user of kubectl."""


class Agents:
    """The agents that are connected, in the order in which they came.

    :param cluster_domain: service names end in ``.svc`` or ``.svc.<cluster domain>``
    """

    def __init__(self, cluster_domain: str = "cluster.local") -> None:
        self._service_suffixes = (".svc", f".svc.{cluster_domain}")
        self._all: list[Backend] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._all)

    def add(self, agent: Backend) -> None:
        """The agent is ready for dials."""
        self._all.append(agent)

    def remove(self, agent: Backend) -> None:
        """The agent is gone."""
        self._all.remove(agent)

    def route(self, host: str) -> Backend:
        """The agent for a dial to ``host``.

        Of several for one node the latest: a predecessor may be dead without having said so. Draining ones only if
        there is no other.

        :raises NoAgentError: none will do
        """
        by_address = is_ip(host)
        own = [agent for agent in self._all if host in (agent.addresses if by_address else agent.hosts)]
        if len({agent.hosts for agent in own}) > 1:
            nodes = ", ".join(sorted({name for agent in own for name in agent.hosts}))
            raise NoAgentError(f"address {host} is that of several nodes ({nodes}): it can only be dialled by name")
        if own:
            return _preferred(own)[-1]
        if not by_address and not host.rstrip(".").endswith(self._service_suffixes):
            raise NoAgentError(f"node {host!r} has no konnectivity agent connected")
        if not self._all:
            raise NoAgentError("no konnectivity agent is connected")
        return random.choice(_preferred(self._all))  # noqa: S311 -- spreads load, guards nothing


def _preferred(agents: Sequence[Backend]) -> Sequence[Backend]:
    return [agent for agent in agents if not agent.draining] or agents
