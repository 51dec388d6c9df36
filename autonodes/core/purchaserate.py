"""How many claims a pool may write at once, and how many a minute after that: what a defect can cost at most.

A pool may say otherwise by annotations. A value that can't be read counts as none, so that one bad annotation stops
nothing; the pool's own condition tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from autonodes.core.errors import ConfigError
from autonodes.core.labels import PURCHASE_BURST, PURCHASES_PER_MINUTE
from autonodes.core.tokenbucket import TokenBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRate:
    """:param burst: claims at once
    :param per_minute: claims after that
    """

    burst: int
    per_minute: int

    def take(self, bucket: TokenBucket, now: float) -> bool:
        """Whether one more may be written now."""
        return bucket.take(now, burst=self.burst, per_second=self.per_minute / 60.0)

    def after(self, written: Iterable[float]) -> TokenBucket:
        """What is left after claims that were written at these moments, in seconds since the epoch."""
        bucket = TokenBucket(self.burst, 0.0)
        for moment in sorted(written):
            self.take(bucket, moment)
        return bucket


def of_pool(annotations: Mapping[str, str], default: PurchaseRate) -> tuple[PurchaseRate, tuple[ConfigError, ...]]:
    """A pool's rate, and what is wrong with its annotations."""
    chosen: dict[str, int] = {}
    faults = []
    for name, key in {"burst": PURCHASE_BURST, "per_minute": PURCHASES_PER_MINUTE}.items():
        if key in annotations:
            text = annotations[key]
            if text.isascii() and text.isdecimal() and int(text) > 0:
                chosen[name] = int(text)
            else:
                path = f'metadata.annotations["{key}"]'
                faults.append(ConfigError(path, text, 'write a whole number greater than 0, such as "100"'))
    return replace(default, **chosen), tuple(faults)
