"""What the caches hold lives for hours, and the garbage collector looks through it all again and again: a tenth of a
second at 2,000 nodes and 20,000 pods, which the next plan waits for. So it is told to leave alone what is there.

What comes later is looked through as ever, and every ten minutes it is all looked through once, so that nothing is kept
for ever that only refers to itself.
"""

from __future__ import annotations

import gc
from typing import Final

from autonodes.core.clock import Clock

INTERVAL: Final = 600.0
"""Seconds; what has come meanwhile is little, and one look costs less than a plan."""


async def settle(clock: Clock) -> None:
    """Until cancelled. To be started when the caches are full."""
    while True:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        await clock.sleep(INTERVAL)
