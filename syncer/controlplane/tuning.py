"""What makes the components small at rest. Figures are private memory (RssAnon) of an idle cluster without nodes.

Go keeps the heap of a busy start for minutes. kube-apiserver: 240 MB as it comes, some 15 MB less than its soft limit
under one. About 100 MB of it are live objects, 115 with a first node, 30 are not heap, and the rest are holes that the
garbage of the start leaves between live objects. Collecting twice as often while it starts leaves a third less of
them: at GOGC 50 a limit of 168 MiB gives live objects as much room as 192 MiB do at 100. A limit that leaves less has
it collect garbage all the time, at half a core. The first `kubectl apply` asks for the OpenAPI documents, which stay:
from then on it took a fifth of a core at 168 MiB, for ever, and takes a thirtieth at 172. The limit is a beginning and
grows with the cluster (`syncer.keeper`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

API_SERVER_SOFT_MEMORY_MB: Final = 172

GO: Final[Mapping[str, str]] = {"GODEBUG": "memprofilerate=0"}
"""No heap profile is kept, for none is served: 2 MB a process."""

SMALL_GO: Final[Mapping[str, str]] = {**GO, "GOGC": "50"}
"""Collecting twice as often: next to nothing where the heap is small, and denser where it is big."""

FRUGAL_GO: Final[Mapping[str, str]] = {**GO, "GOGC": "30"}
"""For the controller manager, which is idle nearly always: 36 MB instead of 39."""
