"""Bootstrap tokens: one a claim, short-lived."""

from __future__ import annotations

from dataclasses import dataclass, field

from autonodes.core.clock import Clock
from autonodes.kube.client import KubeClient

LIFETIME = 15 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapToken:
    id: str
    secret: str = field(repr=False)
    claim_name: str
    claim_uid: str
    expires_at: float

    def __str__(self) -> str:
        raise NotImplementedError


class BootstrapTokens:
    def __init__(self, client: KubeClient, clock: Clock, *, lifetime: float = LIFETIME) -> None:
        raise NotImplementedError

    async def issue(self, *, claim_name: str, claim_uid: str) -> BootstrapToken:
        raise NotImplementedError

    async def revoke(self, claim_uid: str) -> None:
        raise NotImplementedError
