"""The binaries that clusters and nodes are made of: pinned, found, fetched, kept.

``resolve()`` gives every binary's path, fetching what is missing; ``locate()`` only looks; ``verify()`` hashes the
cache. The pins are in ``versions.toml``.
"""

from autonodes.components.errors import (
    BuildFailed,
    CacheFault,
    ComponentsMissing,
    DownloadFailed,
    RefusedBinary,
)
from autonodes.components.pins import Pin, pins, select
from autonodes.components.reporting import Meter, Progress, Silent
from autonodes.components.resolver import Binary, Components, Origin, locate, resolve, verify
from autonodes.components.store import Damage, Entry, default_cache

__all__ = [
    "Binary",
    "BuildFailed",
    "CacheFault",
    "Components",
    "ComponentsMissing",
    "Damage",
    "DownloadFailed",
    "Entry",
    "Meter",
    "Origin",
    "Pin",
    "Progress",
    "RefusedBinary",
    "Silent",
    "default_cache",
    "locate",
    "pins",
    "resolve",
    "select",
    "verify",
]
