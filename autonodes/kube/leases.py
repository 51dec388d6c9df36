"""Leadership by a Lease: at most one process acts, the next takes over when it stops or falls silent.

The rules are client-go's (``tools/leaderelection``): who holds the Lease renews it every :data:`RETRY_PERIOD`; others
take it when its holder released it, or when they have seen it *unchanged* for its whole duration. Only the local clock
is read, so clocks of two machines need not agree, only run at about the same speed. Every write carries the
resourceVersion, so of two that reach for it one gets a conflict.

The holder gives up by itself after :data:`RENEW_DEADLINE` without a renewal, counted from when the last one was *sent*;
that is before anybody else may take over. It then sets `LeaderElection.lost`, and whoever acts under it must stop. A
process that was suspended finds `is_leader` False by the clock alone, even before its tasks have run.

The identity is one process's own, never reused: a restarted process is another one and waits like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from autonodes.kube.resources import LEASES

LEASE_DURATION: Final = 15.0
RENEW_DEADLINE: Final = 10.0
RETRY_PERIOD: Final = 2.0
"""Seconds, client-go's defaults: a crashed leader is replaced within 17 s."""

_log = logging.getLogger(__name__)


def new_identity() -> str:
    """A name that no other process has: host, process id and a random part."""
    return f"{platform.node()}_{os.getpid()}_{uuid.uuid4().hex[:12]}"


class LeaderElection:
    """``async with`` holds the Lease in its block; `lost` says that it is over before the block has ended."""

    def __init__(
        self,
        client: KubeClient,
        name: str,
        namespace: str,
        identity: str,
        clock: Clock,
        *,
        lease_duration: float = LEASE_DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        retry_period: float = RETRY_PERIOD,
    ) -> None:
        if not retry_period < renew_deadline < lease_duration:
            raise ValueError("retry_period < renew_deadline < lease_duration must hold")
        self.lost = asyncio.Event()
        """Set when the Lease is no longer ours; everything done in its name must stop."""
        self.holder = ""
        """Who was last seen to hold it."""
        self._client, self._name, self._namespace = client, name, namespace
        self._identity, self._clock = identity, clock
        self._duration, self._deadline, self._retry = lease_duration, renew_deadline, retry_period
        self._lease: Object = {}
        self._observed_at = float("-inf")
        self._renewed_at = float("-inf")
        self._keeping: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def is_leader(self) -> bool:
        """Whether it is safe to act at this moment: ask right before anything that can't be taken back."""
        return self._keeping is not None and not self.lost.is_set() and self._remaining() > 0

    async def acquire(self) -> None:
        """Wait until the Lease is ours, and keep it from then on."""
        await self._stop_keeping()
        while not await self._attempt(self._deadline):
            await self._clock.sleep(self._retry)
        self.lost.clear()
        self._keeping = asyncio.create_task(self._keep())
        _log.info("%s leads (Lease %s/%s)", self._identity, self._namespace, self._name)

    async def release(self) -> None:
        """Let the next one have it at once; safe to call when it is not ours."""
        was_leader = self.is_leader
        await self._stop_keeping()
        self.lost.set()
        if was_leader:
            with contextlib.suppress(ApiError):
                await self._write({**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})

    async def __aenter__(self) -> LeaderElection:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    def _remaining(self) -> float:
        """Seconds until leadership ends unless it is renewed."""
        return self._renewed_at + self._deadline - self._clock.now()

    async def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while (remaining := self._remaining()) > 0:
            await self._clock.sleep(min(self._retry, remaining))
            if not await self._attempt(self._remaining()) and self.holder != self._identity:
                break
        _log.warning("%s no longer leads: %s", self._identity, self._why_lost())
        self.lost.set()

    def _why_lost(self) -> str:
        lease = f"Lease {self._namespace}/{self._name}"
        if self.holder != self._identity:
            return f"{lease} is held by {self.holder!r}" if self.holder else f"{lease} was released by somebody else"
        silent = self._clock.now() - self._renewed_at
        return f"{lease} was not renewed for {silent:.0f} s, and may be for {self._deadline:.0f} s"

    async def _attempt(self, limit: float) -> bool:
        """One try to take or renew, of at most ``limit`` seconds; True when the Lease is ours after it."""
        sent = self._clock.now()
        try:
            is_ours = await self._within(limit, self._take_or_renew(sent))
        except ApiError as error:
            _log.debug("Lease %s/%s: %s", self._namespace, self._name, error)
            return False
        if is_ours:
            self._renewed_at = sent
        return is_ours

    async def _within(self, limit: float, trying: Coroutine[Any, Any, bool]) -> bool:
        attempt = asyncio.create_task(trying)
        timer = asyncio.ensure_future(self._clock.sleep(max(0.0, limit)))
        try:
            await asyncio.wait({attempt, timer}, return_when=asyncio.FIRST_COMPLETED)
            return attempt.result() if attempt.done() else False
        finally:
            attempt.cancel()
            timer.cancel()
            await asyncio.gather(attempt, timer, return_exceptions=True)

    async def _take_or_renew(self, now: float) -> bool:
        try:
            self._observe(await self._client.get(LEASES, self._name, self._namespace), now)
        except NotFoundError:
            return await self._create(now)
        if self.holder not in ("", self._identity) and now < self._observed_at + self._foreign_duration():
            return False
        try:
            await self._write(self._spec(now))
        except ConflictError:
            return False
        return True

    def _observe(self, lease: Object, now: float) -> None:
        if lease.get("spec") != self._lease.get("spec"):
            self._observed_at = now
        self._lease = lease
        self.holder = lease["spec"].get("holderIdentity") or ""

    def _foreign_duration(self) -> float:
        return float(self._lease["spec"].get("leaseDurationSeconds") or self._duration)

    def _spec(self, now: float) -> Object:
        held = self._lease.get("spec", {})
        is_renewal = held.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": held["acquireTime"] if is_renewal else _micro_time(now),
            "renewTime": _micro_time(now),
            "leaseTransitions": held.get("leaseTransitions", 0) + (0 if is_renewal else 1),
        }

    async def _create(self, now: float) -> bool:
        body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec(now)}
        body["spec"]["leaseTransitions"] = 0
        try:
            self._observe(await self._client.create(LEASES, body), now)
        except AlreadyExistsError:
            return False
        return True

    async def _write(self, spec: Object) -> None:
        """Only over the version that was read."""
        version = self._lease["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        lease = await self._client.merge_patch(LEASES, self._name, patch, self._namespace)
        self._observe(lease, self._clock.now())


def _micro_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
