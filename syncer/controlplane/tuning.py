"""What makes the components small at rest. Figures are private memory (RssAnon) of an idle cluster without nodes.

Go keeps the heap of a busy start for minutes. kube-apiserver: 240 MB as it comes, some 20 MB less than its soft limit
under one, and its time to ready is the same. About 100 MB are live objects, 115 with a first node, and 50 more are not
heap; a limit below 180 MiB makes it collect garbage all the time then, at half a core. The limit is a beginning and
grows with the cluster (`syncer.keeper`). A GOGC of 25 would give 165 MB, but at the price of a start that takes a
quarter longer and of four times the garbage collection for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

API_SERVER_SOFT_MEMORY_MB: Final = 192

GO: Final[Mapping[str, str]] = {"GODEBUG": "memprofilerate=0"}
"""No heap profile is kept, for none is served: 2 MB a process."""

SMALL_GO: Final[Mapping[str, str]] = {**GO, "GOGC": "50"}
"""For the components whose heap is small: collecting twice as often costs them next to nothing."""

FRUGAL_GO: Final[Mapping[str, str]] = {**GO, "GOGC": "30"}
"""For the controller manager, which is idle nearly always: 36 MB instead of 39."""
