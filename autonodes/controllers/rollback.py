"""A group of pods that can't be whole any more gives back what was bought for it.

The machines of a group are bought one by one, and one of them may not be had. Then the pods are planned anew: if there
is another way, the rest is bought there, and the group stays whole. If there is none, the plan refuses the group, and
the claims that were written for it, which say so in an annotation, are deleted at once, in flight or not, unless pods
run there or the plan needs them for others. So what a failed attempt costs is what its machines cost for the time
between two plans.

All that is known is in the plan and on the claims: a process that dies in between is continued by the next plan.
"""

from __future__ import annotations

import logging

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.claims import Claims, deleted_at
from autonodes.core.labels import POD_GROUP
from autonodes.core.model import Plan
from autonodes.kube.cluster import ClusterState

log = logging.getLogger(__name__)


class GangRollback:
    def __init__(self, state: ClusterState, claims: Claims) -> None:
        self._state, self._claims = state, claims

    async def run(self, plan: Plan) -> None:
        """Delete the claims of refused groups.

        :param plan: of a snapshot that had these claims
        :raises ApiError: not all of them; the next plan goes on with it
        """
        if not plan.refused_groups:
            return
        refused, needed = frozenset(plan.refused_groups), frozenset(plan.placements.values())
        for claim in list(self._state.nodeclaims.items.values()):
            groups = groups_of(claim)
            if groups and groups <= refused and claim.name not in needed and not self._is_in_use(claim):
                await self._give_back(claim, groups)

    def _is_in_use(self, claim: NodeClaim) -> bool:
        """Whether it is on its way out already, or a pod runs there that is no daemon."""
        if deleted_at(claim) is not None:
            return True
        pods = self._state.pods_on(claim.status.node_name or claim.name).values()
        return any(pod.owner_kind not in ("DaemonSet", "Node") and not pod.terminal for pod in pods)

    async def _give_back(self, claim: NodeClaim, groups: frozenset[str]) -> None:
        listed = ", ".join(sorted(groups))
        log.warning("%s is given back: pod group %s can't be whole", claim.name, listed)
        await self._claims.end(claim, "PodGroupUnschedulable", f"pod group {listed} can't have all its nodes")


def groups_of(claim: NodeClaim) -> frozenset[str]:
    """``namespace/name`` of the groups that it was bought for."""
    return frozenset(filter(None, claim.metadata.annotations.get(POD_GROUP, "").split(",")))
