"""Hands each claim its credential: what the controllers call when a machine is bought, has joined, or goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autonodes.core import labels
from autonodes.core.model import Taint
from joiner.bootstrap import ClaimBootstrap, ClusterAccess
from joiner.tokens import BootstrapTokens

if TYPE_CHECKING:
    from autonodes.api.nodeclaim import NodeClaim

_UNREGISTERED = Taint(key=labels.UNREGISTERED_TAINT, effect="NoExecute")


class ClaimJoiner:
    """The `autonodes.controllers.joining.Joiner` on bootstrap tokens. All calls may be repeated."""

    def __init__(self, tokens: BootstrapTokens, access: ClusterAccess) -> None:
        self._tokens = tokens
        self._access = access

    async def bootstrap(self, claim: NodeClaim) -> ClaimBootstrap:
        """How the claim's machine joins; repeated calls give the same live token.

        :raises ApiError: the token could not be written
        """
        name = claim.metadata.name
        token = await self._tokens.issue(claim_name=name, claim_uid=claim.metadata.uid)
        spec = claim.spec
        taints = [Taint(taint.key, taint.value or "", taint.effect) for taint in (*spec.taints, *spec.startup_taints)]
        return ClaimBootstrap(
            node_name=name,
            token=f"{token.id}.{token.secret}",
            access=self._access,
            labels=dict(claim.metadata.labels),
            taints=(*taints, _UNREGISTERED),
        )

    async def joined(self, claim: NodeClaim) -> None:
        """The node is registered: its token has served and is deleted."""
        await self._tokens.revoke(claim.metadata.uid)

    async def forget(self, claim_uid: str) -> None:
        """The claim goes away: nothing of it may join any more."""
        await self._tokens.revoke(claim_uid)
