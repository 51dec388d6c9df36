"""A cache of a kind that is not this project's, and that a cluster may do without.

Where the API does not serve it there is nothing to hear about, and it is looked for once a minute.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from autonodes.core.clock import Clock
from autonodes.kube.cache import Cache
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ApiError
from autonodes.kube.resources import CRDS

T = TypeVar("T")

_ABSENT: Final = 60.0
"""Seconds between two looks for the kind where it is missing."""


class OptionalKind(Generic[T]):
    """:param cache: of the kind; `run` keeps it
    :ivar absent: whether the kind was looked for and not found
    """

    def __init__(self, client: KubeClient, cache: Cache[T], clock: Clock) -> None:
        self._client, self._cache, self._clock = client, cache, clock
        self.absent = False

    async def run(self) -> None:
        """Until cancelled."""
        while not await self.is_served():
            self.absent = True
            await self._clock.sleep(_ABSENT)
        self.absent = False
        await self._cache.run()

    async def is_served(self) -> bool:
        """Whether the API has the kind now, in the version that is read."""
        resource = self._cache.resource
        try:
            definition = await self._client.get(CRDS, str(resource))
        except ApiError:
            return False
        return any(each["name"] == resource.version and each["served"] for each in definition["spec"]["versions"])
