from __future__ import annotations

from typing import Any

from autonodes.cli.ledger import faults
from autonodes.core.ledger import Entry, digest, following


def host(uid: str, head: str) -> dict[str, Any]:
    return {"metadata": {"name": f"host-{uid}", "uid": uid}, "status": {"ledgerHead": head}}


def chain(uid: str) -> list[Entry]:
    entries = [following([], "registered", host=f"host-{uid}", at=1)]
    proof = {"nonce": "n"}
    entries.append(following(entries, "wiped", host=f"host-{uid}", at=2, level="full", proof=proof))
    return entries


def test_a_true_ledger_has_no_fault_while_an_entry_is_being_written_neither() -> None:
    entries = chain("a")
    for head in entries:
        assert faults({"a": host("a", digest(head))}, {"a": entries}) == []
    assert faults({"b": host("b", "")}, {}) == []


def test_a_chain_that_lost_its_end_is_named_by_its_host() -> None:
    entries = chain("a")
    (flaw,) = faults({"a": host("a", digest(entries[-1]))}, {"a": entries[:-1]})
    assert str(flaw) == "host-a: entry 2: is missing at the end: the chain was cut off or changed"


def test_a_whole_chain_that_is_gone_shows() -> None:
    assert faults({"a": host("a", digest(chain("a")[-1]))}, {})


def test_what_a_removed_host_has_left_is_judged_too() -> None:
    entries = chain("a")
    assert faults({}, {"a": entries}) == []
    assert faults({}, {"a": entries[1:]})
