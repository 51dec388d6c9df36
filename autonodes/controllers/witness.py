"""A second witness to what kopf sees.

An operator framework can become a zombie: a watch stream ends, or a worker hangs, and nothing is handled any more while
everything seems to run. Our own cache watches the same NodeClaims over another connection. A claim that the cache has
known for a while and that nobody looks after, or that is being deleted and nobody ends, means that kopf does not see
what is there; then the operator is restarted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from autonodes.controllers.claims import deleted_at
from autonodes.controllers.lives import Lives
from autonodes.controllers.providers import GROUP
from autonodes.controllers.settings import ControllerSettings
from autonodes.core import labels
from autonodes.core.clock import Clock
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)

_INTERVAL: Final = 5.0


class Witness:
    def __init__(self, state: ClusterState, lives: Lives, clock: Clock, settings: ControllerSettings) -> None:
        self._state, self._lives, self._clock = state, lives, clock
        self._grace = settings.operator_grace
        self._neglected_since: dict[str, float] = {}

    async def disagreement(self) -> Mapping[str, str]:
        """Return when kopf has neglected claims for the grace time: UID → name of each.

        While the API server is not heard, nothing can be said against kopf.
        """
        self._neglected_since = {}
        while True:
            now = self._clock.now()
            neglected = self._neglected() if self._state.fresh(now) else {}
            self._neglected_since = {uid: self._neglected_since.get(uid, now) for uid in neglected}
            overdue = {uid: neglected[uid] for uid, since in self._neglected_since.items() if now - since > self._grace}
            if overdue:
                log.error("kopf does not see NodeClaims that exist: %s", ", ".join(sorted(overdue.values())))
                return overdue
            await self._clock.sleep(_INTERVAL)

    def _neglected(self) -> Mapping[str, str]:
        living, ending = self._lives.living, self._lives.ending
        neglected = {}
        for claim in self._state.nodeclaims.items.values():
            if claim.spec.node_class_ref.group != GROUP:
                continue
            uid = claim.metadata.uid
            if deleted_at(claim) is None:
                is_looked_after = uid in living or uid in ending
            else:
                is_looked_after = uid in ending or labels.TERMINATION_FINALIZER not in claim.metadata.finalizers
            if not is_looked_after:
                neglected[uid] = claim.name
        return neglected
