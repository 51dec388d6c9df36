"""Who has which host: one ConfigMap, claim UID → what was bought.

One object, changed with its version named, so that neither a claim can get two hosts nor a host two claims, whoever
races with whom. It is written before anything is done to the host, and a claim's line goes when its host is known to
be off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from autonodes.kube.resources import CONFIGMAPS
from autonodes.provider import ProviderError
from providers.metal.hosts import NAMESPACE

NAME: Final = "autonodes-metal-allocations"
_TRIES: Final = 20
"""Of a change that others keep getting in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """:param node_class: the name of the class that it was bought for
    :param image: what that class had it boot
    :param created_at: seconds since the epoch
    :param terminating: the host is to be switched off
    :param off_since: when its controller first said that it is off; 0 for not yet
    """

    claim_uid: str
    claim_name: str
    cluster: str
    node_pool: str
    node_class: str
    image: str
    host: str
    instance_type: str
    zone: str
    created_at: float
    terminating: bool = False
    off_since: float = 0.0


Table = Mapping[str, Allocation]
"""By claim UID."""


class Allocations:
    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def read(self) -> Table:
        """Of all clusters; complete, or it raises."""
        return (await self._read())[0]

    async def change(self, change: Callable[[dict[str, Allocation]], None]) -> Table:
        """The table as ``change`` leaves it; it is called anew for as long as others get in between.

        :raises ProviderError: they never stop
        """
        for _ in range(_TRIES):
            table, body = await self._read()
            after = dict(table)
            change(after)
            if after == dict(table):
                return after
            try:
                await self._write(after, body)
            except (ConflictError, AlreadyExistsError):
                continue
            return after
        raise ProviderError("the table of hosts changes all the time: trying again later")

    async def _read(self) -> tuple[dict[str, Allocation], dict[str, Any] | None]:
        try:
            body = await self._kube.get(CONFIGMAPS, NAME, NAMESPACE)
        except NotFoundError:
            return {}, None
        data = body.get("data") or {}
        return {uid: Allocation(**json.loads(line)) for uid, line in data.items()}, body

    async def _write(self, table: Table, body: dict[str, Any] | None) -> None:
        data = {uid: json.dumps(asdict(each), sort_keys=True) for uid, each in sorted(table.items())}
        if body is None:
            await self._kube.create(CONFIGMAPS, {"metadata": {"name": NAME}, "data": data}, NAMESPACE)
        else:
            await self._kube.replace(CONFIGMAPS, {**body, "apiVersion": "v1", "kind": "ConfigMap", "data": data})
