"""The connection to one hypervisor: calls in threads of its own, with a time limit, and events.

libvirt's calls block, and one to a hypervisor that has died blocks for long. So each hypervisor has a few threads that
no other one waits for. A call that takes too long counts as "gone"; its thread ends when libvirt's keep-alive does
(15 s). While a hypervisor is gone every call fails at once, and one attempt to reach it again is made every
`RETRY` seconds.

libvirt delivers events and keep-alive through one event loop of the process; a daemon thread runs it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias, TypeVar

import libvirt

from providers.libvirt.errors import HypervisorGoneError, said

T = TypeVar("T")
Connection: TypeAlias = libvirt.virConnect
LifecycleListener = Callable[[str, int, int], None]
"""Called with a domain's UUID, and event and detail as libvirt numbers them; in another thread."""

WITHIN: Final = 30.0
"""Seconds that a call may take; uploads have no limit, as long as the connection lives."""
CONNECT_WITHIN: Final = 10.0
RETRY: Final = 10.0
"""Seconds between two attempts to reach a hypervisor that is gone."""
_THREADS: Final = 4
_KEEP_ALIVE: Final = (5, 3)
"""Seconds between two probes, and how many may remain without answer."""

log = logging.getLogger(__name__)
_loop_lock = threading.Lock()
_loop_runs = False


def _run_event_loop() -> None:
    """Once a process, before the first connection is opened."""
    global _loop_runs
    with _loop_lock:
        if _loop_runs:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised; they need not be printed as well

        def forever() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=forever, name="libvirt-events", daemon=True).start()
        _loop_runs = True


class Hypervisor:
    """:param uri: as libvirt has it
    :param listener: is told of every change in the life of a domain
    """

    def __init__(self, uri: str, listener: LifecycleListener) -> None:
        self.uri = uri
        self._listener = listener
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"libvirt {uri}")
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._failed_at, self._failure = float("-inf"), ""

    async def call(self, work: Callable[[Connection], T], *, within: float | None = WITHIN) -> T:
        """The work's result; it runs in a thread.

        :param within: seconds; None for as long as the connection lives
        :raises HypervisorGoneError: no connection, or it was lost on the way: the work may have been done or not
        :raises libvirt.libvirtError: the hypervisor refused
        """
        connection = await self._connected()
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, connection)
        try:
            return await asyncio.wait_for(asyncio.shield(running), within)
        except TimeoutError:
            running.add_done_callback(_ignore)
            self._lost(f"no answer within {within:.0f} s")
            raise HypervisorGoneError(self.uri, self._failure) from None
        except asyncio.CancelledError:
            running.add_done_callback(_ignore)
            raise
        except libvirt.libvirtError as error:
            if await asyncio.get_running_loop().run_in_executor(self._threads, _is_alive, connection):
                raise
            self._lost(said(error))
            raise HypervisorGoneError(self.uri, self._failure) from error

    async def close(self) -> None:
        """End the connection; machines stay."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, _close, connection)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _connected(self) -> Connection:
        if self._connection is not None:
            return self._connection
        if self._opening is None:
            if time.monotonic() - self._failed_at < RETRY:
                raise HypervisorGoneError(self.uri, self._failure)
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        try:
            return await asyncio.wait_for(asyncio.shield(self._opening), CONNECT_WITHIN)
        except TimeoutError:
            raise HypervisorGoneError(self.uri, f"no connection within {CONNECT_WITHIN:.0f} s") from None

    async def _open(self) -> Connection:
        _run_event_loop()
        return await asyncio.get_running_loop().run_in_executor(self._threads, _open, self.uri, self._tell)

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._lost(getattr(error, "why", str(error)))
            return
        self._connection = task.result()

    def _lost(self, why: str) -> None:
        if why != self._failure or self._connection is not None:
            log.warning("hypervisor %s: %s", self.uri, why)
        self._connection, self._failure, self._failed_at = None, why, time.monotonic()

    def _tell(self, _connection: Connection, domain: libvirt.virDomain, event: int, detail: int, _data: object) -> None:
        self._listener(domain.UUIDString(), event, detail)


def _open(uri: str, listener: Callable[..., None]) -> Connection:
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise HypervisorGoneError(uri, said(error)) from error
    lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
    try:
        connection.domainEventRegisterAny(None, lifecycle, listener, None)
        connection.setKeepAlive(*_KEEP_ALIVE)
    except libvirt.libvirtError as error:  # a driver within this process has no keep-alive
        log.debug("%s: %s", uri, said(error))
    return connection


def _is_alive(connection: Connection) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _close(connection: Connection) -> None:
    try:
        connection.close()
    except libvirt.libvirtError as error:
        log.debug("closing: %s", said(error))


def _ignore(done: Mapping[str, Any] | asyncio.Future[Any]) -> None:
    if isinstance(done, asyncio.Future) and not done.cancelled():
        done.exception()
