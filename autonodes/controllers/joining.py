"""What the controller needs of whoever turns a machine into a node; the composition root brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from autonodes.api.nodeclaim import NodeClaim
    from autonodes.provider import Bootstrap


class Joiner(Protocol):
    """Hands out one short-lived credential for each claim. All calls may be repeated."""

    async def bootstrap(self, claim: NodeClaim) -> Bootstrap:
        """How the claim's machine joins; repeated calls give the same live credential.

        :raises ApiError: it could not be written
        """
        ...

    async def joined(self, claim: NodeClaim) -> None:
        """The claim's node is registered: its credential has served."""
        ...

    async def forget(self, claim_uid: str) -> None:
        """The claim goes away: nothing of it may join any more."""
        ...
