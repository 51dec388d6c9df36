"""Who has which host: one ConfigMap, claim UID → what was bought.

One object, changed with its version named, so that neither a claim can get two hosts nor a host two claims, whoever
races with whom. It is written before anything is done to the host, and a claim's line goes when its host is known to
be off.

What one process wants to change at a time is written at once: whoever comes while a write is under way waits, and the
next write holds the changes of all who waited. So hundreds of claims that end together are a few writes, and none of
them gets between another one and the object; only another process can.

Limit: an object of the API server holds about 2,500 lines.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from autonodes.core.errors import AutonodesError
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


Change = Callable[[dict[str, Allocation]], None]
"""May raise: then it is as if it had not been asked for."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A change and what came of it."""

    change: Change
    table: Table | None = None
    error: AutonodesError | None = None

    @property
    def is_done(self) -> bool:
        return self.table is not None or self.error is not None


@dataclass(slots=True)
class Allocations:
    _kube: KubeClient
    _waiting: list[_Waiting] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> Table:
        """Of all clusters; complete, or it raises."""
        return (await self._read())[0]

    async def change(self, change: Change) -> Table:
        """The table as ``change`` leaves it; it is called anew for as long as others get in between.

        :raises ProviderError: they never stop
        """
        mine = _Waiting(change)
        self._waiting.append(mine)
        try:
            async with self._writing:
                if not mine.is_done:
                    await self._write_all()
        finally:
            if mine in self._waiting:  # cancelled
                self._waiting.remove(mine)
        if mine.error is not None:
            raise mine.error
        assert mine.table is not None  # noqa: S101 -- is_done
        return mine.table

    async def _write_all(self) -> None:
        """Everybody who waits has their table or their error."""
        for _ in range(_TRIES):
            try:
                await self._write_once()
                return
            except (ConflictError, AlreadyExistsError):
                continue
            except AutonodesError as error:
                self._fail(error)
                return
        self._fail(ProviderError("the table of hosts changes all the time: trying again later"))

    async def _write_once(self) -> None:
        """One read and at most one write for all who wait."""
        table, body = await self._read()
        batch, after, errors = tuple(self._waiting), dict(table), {}
        for each in batch:
            attempt = dict(after)
            try:
                each.change(attempt)
            except AutonodesError as error:
                errors[each] = error
            else:
                after = attempt
        if after != table:
            await self._write(after, body)
        for each in batch:
            each.error, each.table = errors.get(each), after
            if each in self._waiting:
                self._waiting.remove(each)

    def _fail(self, error: AutonodesError) -> None:
        for each in self._waiting:
            each.error = error
        self._waiting.clear()

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
