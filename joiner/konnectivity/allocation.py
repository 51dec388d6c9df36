"""glibc's malloc, told to keep what it frees.

A chunk passes through several buffers of its size, made and freed by gRPC and Python for each packet. By default glibc
gives buffers of that size back to the kernel at once, and the next one is faulted in again page by page: every byte
carried costs a page fault's share, a third of the system time. Keeping `KEPT` bytes avoids nearly all of that.

Other C libraries have no mallopt, or one that does nothing; there the default stays.
"""

from __future__ import annotations

import ctypes
from typing import Final

KEPT: Final = 4 << 20
"""Bytes at the top of a heap that are not given back, and the size from which on a buffer is mapped on its own."""
ARENAS: Final = 2
"""Heaps, each of which keeps its own."""

# The parameters' numbers in glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8


def keep_buffers() -> None:
    """To be called before the first buffer is made; for the whole process."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for parameter, value in ((_TRIM_THRESHOLD, KEPT), (_MMAP_THRESHOLD, KEPT), (_ARENA_MAX, ARENAS)):
        mallopt(parameter, value)
