"""The binding to kopf, and the only module that knows it.

kopf watches NodeClaims, NodePools and node classes and says what happens to each:

- a claim that exists → `Lives.begin` (a daemon a claim, which does nothing but stand for it);
- a claim that is to be deleted → `Lives.end`, in a deletion handler that returns when the machine is gone; then kopf
  takes the finalizer off. After a restart kopf starts no daemon for such a claim, so the handler alone does it all;
- a pool or node class that changed → a look by its reconciler. Events of them are only triggers: their handlers keep
  nothing and may fail.

The life itself runs in `Lives`, not in kopf's tasks: kopf may be restarted (see `witness`) and the lives go on.

What is special about this embedding, of kopf 1.45:

- `kopf.run_tasks` cancels every task of the event loop at its end, for it takes the loop for its own. It isn't ours
  alone, so the root tasks are waited for here.
- kopf takes SIGINT and SIGTERM over; they are given back right after the start.
- kopf kills the process ten minutes after its operator was cancelled (``ultimate_exiting_timeout``): switched off.
- kopf imports the ``kubernetes`` client where it is installed, only to recognise its objects; that costs 14 MB and
  0.6 s, and is kept from it.
- kopf stores what an object looked like when it was last handled, for handlers of changes; there are none here, so
  nothing is stored.
- Events, peering and the scan for new resource kinds are off: events are recorded by `EventRecorder`, leadership is a
  Lease, and the resources are known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final

import aiohttp

from autonodes.controllers.lives import Lives
from autonodes.controllers.nodeclasses import NodeClasses
from autonodes.controllers.nodepools import NodePools
from autonodes.controllers.providers import GROUP
from autonodes.controllers.registration import KOPF_ANNOTATIONS
from autonodes.core import labels
from autonodes.kube.kubeconfig import Credentials
from autonodes.kube.resources import NODECLAIMS, NODEPOOLS, Resource, node_class


@contextlib.contextmanager
def _without_kubernetes_client() -> Iterator[None]:
    if "kubernetes" in sys.modules:
        yield
        return
    sys.modules["kubernetes"] = None  # type: ignore[assignment]  # the import system's own notation for "not there"
    try:
        yield
    finally:
        del sys.modules["kubernetes"]


with _without_kubernetes_client():
    import kopf

log = logging.getLogger(__name__)
logging.getLogger("kopf").setLevel(logging.WARNING)  # it reports each handler of each object at INFO

_WATCH: Final = 300
"""Seconds after which the server ends a watch by itself."""
_SILENCE: Final = 75.0
"""Seconds without event or bookmark after which a watch counts as dead; bookmarks come about once a minute."""
_CONNECT: Final = 5.0
_REQUEST: Final = 30.0
_EXIT: Final = 0.1
"""Seconds for handlers to finish when the operator stops: none of them has anything to finish."""


class OperatorStoppedError(Exception):
    """kopf ended by itself; the cause, if any, is chained."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing; kopf's own would copy every object at every event to find out what changed."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> None:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        pass


class Operator:
    """:param kinds: of the node classes to watch
    :param restore_signals: called when kopf has taken the process's signals
    """

    def __init__(
        self,
        credentials: Credentials,
        lives: Lives,
        nodepools: NodePools,
        nodeclasses: NodeClasses,
        *,
        kinds: Collection[str],
        restore_signals: Callable[[], None] = lambda: None,
    ) -> None:
        self._credentials, self._lives = credentials, lives
        self._nodepools, self._nodeclasses = nodepools, nodeclasses
        self._kinds, self._restore_signals = kinds, restore_signals

    async def run(self) -> None:
        """Until cancelled.

        :raises OperatorStoppedError: kopf gave up; a new run starts afresh
        """
        tasks = await kopf.spawn_tasks(
            registry=self._registry(), settings=_settings(), standalone=True, clusterwide=True
        )
        self._restore_signals()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        failure = next((task.exception() for task in done if not task.cancelled()), None)
        raise OperatorStoppedError(", ".join(task.get_name() for task in done)) from failure

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(self._login)
        claims = _selector(NODECLAIMS)
        kopf.daemon(*claims, registry=registry, id="life", when=_is_ours)(self._live)
        kopf.on.delete(*claims, registry=registry, id="end", when=_is_ours)(self._end)
        kopf.on.event(*_selector(NODEPOOLS), registry=registry, id="pool")(self._pool_changed)
        for kind in self._kinds:
            changed = partial(self._class_changed, kind=kind)
            kopf.on.event(*_selector(node_class(kind)), registry=registry, id="class")(changed)
        return registry

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        given = self._credentials
        token = given.token_file.read_text().strip() if given.token_file else given.token
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=given.tls or False, limit=0),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        return kopf.AiohttpSession(server=given.server, aiohttp_session=session)

    async def _live(self, name: str, uid: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
        self._lives.begin(name, uid)
        await stopped.wait()

    async def _end(self, name: str, uid: str, **_: Any) -> None:
        await self._lives.end(name, uid)

    async def _pool_changed(self, name: str, **_: Any) -> None:
        self._nodepools.changed(name)

    async def _class_changed(self, name: str, *, kind: str, **_: Any) -> None:
        self._nodeclasses.changed(kind, name)


def _is_ours(spec: Mapping[str, Any], **_: Any) -> bool:
    return bool(spec["nodeClassRef"]["group"] == GROUP)


def _selector(resource: Resource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.plural


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = labels.TERMINATION_FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=KOPF_ANNOTATIONS, v1=False)
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None
    settings.scanning.disabled = True
    settings.queueing.exit_timeout = _EXIT
    settings.watching.server_timeout = _WATCH
    settings.watching.inactivity_timeout = _SILENCE
    settings.watching.connect_timeout = _CONNECT
    settings.networking.connect_timeout = _CONNECT
    settings.networking.request_timeout = _REQUEST
    settings.networking.error_backoffs = (1, 2, 3, 5)
    return settings
