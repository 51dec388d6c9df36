"""The ledger of exclusive use: who had a bare-metal host, when it was released, and the proof that it was wiped.

Each host has a chain of entries. An entry carries the hash of the one before, so none can be changed, dropped or put in
between without all later ones changing; the newest hash is kept apart from the chain, so that the end can't be cut off
unseen. What may follow what is the promise itself: *no proof, no reuse*.

Limits: it shows tampering to whoever knows the newest hash; it does not prevent it. The proof is what the wiping
program said, with the nonce that it was given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

Event = Literal["registered", "tenant", "released", "wiped"]

GENESIS: Final = "0" * 64
"""What the first entry of a chain comes after."""

WIPE_LEVELS: Final = ("metadata", "full", "secure-erase")
"""From the weakest to the strongest: partition tables and file system signatures; every block; the drive's own command
(ATA Secure Erase, NVMe Format), which reaches spare blocks too."""

_FOLLOWS: Final[Mapping[Event, frozenset[str]]] = {
    "registered": frozenset({""}),
    "tenant": frozenset({"wiped"}),
    "released": frozenset({"tenant"}),
    "wiped": frozenset({"registered", "released", "wiped"}),
}
"""What each event may come after; "" is the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """:param at: seconds since the epoch, whole ones
    :param tenant: who has the host from here on (``tenant``), or had it until here (``released``)
    :param level: of a wipe
    :param proof: what the wiping program reported: the nonce that it was given, and each drive
    :param previous: `digest` of the entry before
    """

    host: str
    sequence: int
    event: Event
    at: int
    tenant: str = ""
    claim: str = ""
    level: str = ""
    proof: Mapping[str, str] = field(default_factory=dict)
    previous: str = GENESIS


@dataclass(frozen=True, slots=True)
class Flaw:
    """What does not hold in a chain.

    :param sequence: of the entry at fault, or of the one that is missing
    """

    host: str
    sequence: int
    message: str

    def __str__(self) -> str:
        return f"{self.host}: entry {self.sequence}: {self.message}"


class UnlawfulEntryError(ValueError):
    """An entry that the promise does not allow at the end of this chain."""


def digest(entry: Entry) -> str:
    """SHA-256 of the entry as canonical JSON (sorted keys, no spaces), in hex."""
    text = json.dumps({**asdict(entry), "proof": dict(entry.proof)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def following(
    chain: Sequence[Entry],
    event: Event,
    *,
    host: str,
    at: float,
    tenant: str = "",
    claim: str = "",
    level: str = "",
    proof: Mapping[str, str] | None = None,
) -> Entry:
    """The entry to append.

    :raises UnlawfulEntryError: it may not come next, such as a tenant without the proof of a wipe
    """
    entry = Entry(
        host=host,
        sequence=len(chain) + 1,
        event=event,
        at=int(at),
        tenant=tenant,
        claim=claim,
        level=level,
        proof=dict(proof or {}),
        previous=digest(chain[-1]) if chain else GENESIS,
    )
    for message in _unlawful(chain[-1] if chain else None, entry):
        raise UnlawfulEntryError(f"{host}: {message}")
    return entry


def flaws(host: str, chain: Iterable[Entry], *, head: str) -> Iterator[Flaw]:
    """All that is wrong with a chain.

    :param head: `digest` of its newest entry as it was kept apart, "" for none; it may be one entry behind, for the
        entry is written first
    """
    last: Entry | None = None
    heads = ["", ""]
    for number, entry in enumerate(chain, start=1):
        if entry.sequence != number:
            yield Flaw(host, number, f"is missing: number {entry.sequence} stands in its place")
        if entry.host != host:
            yield Flaw(host, number, f"is of another host, {entry.host}")
        if entry.previous != (digest(last) if last else GENESIS):
            yield Flaw(host, number, "does not follow from the one before: one of the two was changed")
        for message in _unlawful(last, entry):
            yield Flaw(host, number, message)
        last = entry
        heads = [heads[1], digest(entry)]
    if head not in heads:
        yield Flaw(host, (last.sequence if last else 0) + 1, "is missing at the end: the chain was cut off or changed")


def _unlawful(last: Entry | None, entry: Entry) -> Iterator[str]:
    before = last.event if last else ""
    if before not in _FOLLOWS[entry.event]:
        yield f"{entry.event} can't come after {before or 'nothing'}"
    if entry.event == "wiped" and (entry.level not in WIPE_LEVELS or not entry.proof.get("nonce")):
        yield "a wipe without a level and a proof is none"
    if entry.event == "tenant" and not entry.tenant:
        yield "the tenant is not named"
    if entry.event == "released" and last is not None and (entry.tenant, entry.claim) != (last.tenant, last.claim):
        yield f"{entry.tenant} can't release what {last.tenant} has"
