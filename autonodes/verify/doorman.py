"""A joiner that lets everybody in and remembers whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from autonodes.api.nodeclaim import NodeClaim
from autonodes.provider import BootPlan, NodeSettings


@dataclass
class Credential:
    """A way to join that hides nothing."""

    node_name: str

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        raise AssertionError("the cloud boots nothing")


@dataclass
class Doorman:
    """The joiner: remembers whom it gave a credential and whom it was taken from."""

    given: dict[str, str] = field(default_factory=dict)

    async def bootstrap(self, claim: NodeClaim) -> Credential:
        self.given[claim.metadata.uid] = claim.name
        return Credential(claim.name)

    async def joined(self, claim: NodeClaim) -> None:
        self.given.pop(claim.metadata.uid, None)

    async def forget(self, claim_uid: str) -> None:
        self.given.pop(claim_uid, None)
