"""What moves hosts from state to state: one short step a host and look, nothing is waited for within a step.

Intent comes first: a step is written to the host's status before its controller is asked for anything, and each may be
repeated. So a process that dies between any two lines is followed by one that does the same step again. Only `at_once`
hosts are at work at a time, counted by what the statuses say; the others wait for their turn.

Limit: one process works on an inventory at a time (the leader). Two that overlap for a moment are kept apart by the
versions of the statuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from autonodes.core.errors import AutonodesError
from autonodes.kube.errors import ConflictError
from providers.metal.allocations import Allocation, Allocations
from providers.metal.bmc import BMC, BMCError
from providers.metal.drivers import driver
from providers.metal.hosts import Host, Hosts, conditions
from providers.metal.states import AT_WORK, State

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two looks when nothing happens."""
SETTLE: Final = 0.2
"""Seconds between two looks at least: what happens to many hosts at once is one look."""
THREADS: Final = 32
"""For calls of controllers: more than are at work at a time, so that some may hang."""
STEPS: Final = 2 * THREADS
"""Steps under way at a time, of all hosts: a hall that is listed at once would have the API server and all controllers
asked at once, and hardly anybody answered in time."""

T = TypeVar("T")
Step = Callable[[Host, Allocation | None, BMC, float], Awaitable[None]]


class Controllers:
    """The management controllers of hosts; their calls in threads."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts, self._directory = hosts, directory
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bmc")
        self._known: dict[str, tuple[object, BMC]] = {}

    async def of(self, host: Host) -> BMC:
        """:raises BadCredentialsError: its Secret can't be used"""
        secret = await self._hosts.secret(host)
        key = (host.spec.bmc, host.spec.ssh, tuple(sorted(secret.items())))
        known = self._known.get(host.name)
        if known is None or known[0] != key:
            ca_file = await asyncio.to_thread(self._authority, host, secret)
            known = self._known[host.name] = (key, driver(host.spec, secret, ca_file))
        return known[1]

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """In a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _authority(self, host: Host, secret: Mapping[str, str]) -> str | None:
        if "ca.crt" not in secret:
            return None
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{host.uid}.crt"
        path.write_text(secret["ca.crt"])
        return str(path)


class Engine:
    """:param steps: what is done in each state
    :param is_due: whether there is anything to do for a host; for most there is nothing, and nobody is asked
    :param at_once: hosts at work at a time
    """

    def __init__(
        self,
        hosts: Hosts,
        allocations: Allocations,
        controllers: Controllers,
        steps: Mapping[State, Step],
        *,
        is_due: Callable[[Host, Allocation | None, float], bool],
        now: Callable[[], float],
        at_once: int,
    ) -> None:
        self._hosts, self._allocations, self._controllers = hosts, allocations, controllers
        self._steps, self._is_due, self._now, self._at_once = steps, is_due, now, at_once
        self._woken = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._look()
                except AutonodesError as error:
                    log.warning("the inventory can't be looked at: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL):
                        await self._woken.wait()
                await asyncio.sleep(SETTLE)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _look(self) -> None:
        """Begin a step of each host that has something to do and may do it; one whose last step still hangs is left.

        :raises AutonodesError: the inventory can't be read
        """
        hosts, table = await self._hosts.all(), await self._allocations.read()
        by_host = {each.host: each for each in table.values()}
        room = self._at_once - sum(host.at_work or self._starts(host) for host in hosts)
        now = self._now()
        # whose turn was longest ago comes first, so that those that hang don't keep others waiting for ever
        for host in sorted(hosts, key=lambda each: self._turns.get(each.name, 0)):
            if len(self._busy) >= STEPS:
                break
            if host.name in self._busy or not self._is_due(host, by_host.get(host.name), now):
                continue
            if host.state in AT_WORK and not host.at_work:
                if room <= 0:
                    continue
                room -= 1
            self._turn += 1
            self._turns[host.name] = self._turn
            task = asyncio.create_task(self._step(host, by_host.get(host.name)))
            self._busy[host.name] = task
            task.add_done_callback(lambda _, name=host.name: self._busy.pop(name))  # type: ignore[misc]

    def _starts(self, host: Host) -> bool:
        return host.state in AT_WORK and host.name in self._busy

    async def _step(self, host: Host, allocation: Allocation | None) -> None:
        now, written = self._now(), self._hosts.written
        try:
            await self._steps[host.state](host, allocation, await self._controllers.of(host), now)
        except ConflictError:
            self.wake()  # somebody wrote in between
        except BMCError as error:
            await self._show(host, error.reason, str(error), now)
        except AutonodesError as error:
            log.warning("%s: %s", host.name, error)
        except Exception:
            log.exception("%s: a defect", host.name)
        if self._hosts.written > written:
            self.wake()  # the next step may be due

    async def _show(self, host: Host, reason: str, message: str, now: float) -> None:
        newest = await self._hosts.get(host.name)
        if newest is None:
            return
        said = conditions(newest, "False", reason, message, now=now)
        if said != newest.status.conditions:
            with contextlib.suppress(ConflictError):
                await self._hosts.write(newest, conditions=said)
