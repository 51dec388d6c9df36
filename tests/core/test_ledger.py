from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonodes.core.ledger import Entry, UnlawfulEntryError, digest, flaws, following

HOST = "host-1"
PROOF = {"nonce": "n", "drive S1": "512 GB"}


def lived(*tenants: str) -> list[Entry]:
    """The chain of a host that these tenants had, one after another, wiped after each."""
    chain = [following([], "registered", host=HOST, at=1)]
    chain.append(following(chain, "wiped", host=HOST, at=2, level="full", proof=PROOF))
    for tenant in tenants:
        chain.append(following(chain, "tenant", host=HOST, at=3, tenant=tenant, claim=f"{tenant}-1"))
        chain.append(following(chain, "released", host=HOST, at=4, tenant=tenant, claim=f"{tenant}-1"))
        chain.append(following(chain, "wiped", host=HOST, at=5, level="full", proof=PROOF))
    return chain


def found(chain: Sequence[Entry], head: str) -> list[str]:
    return [str(flaw) for flaw in flaws(HOST, chain, head=head)]


def test_a_lawful_life_has_no_flaw() -> None:
    chain = lived("blue", "green")
    assert found(chain, digest(chain[-1])) == []
    assert found([], "") == []


@pytest.mark.parametrize("wiped", [False, True])
def test_nobody_gets_a_host_without_the_proof_of_a_wipe(wiped: bool) -> None:
    chain = lived("blue") if wiped else lived("blue")[:-1]
    if wiped:
        assert following(chain, "tenant", host=HOST, at=6, tenant="green", claim="1").sequence == 6
    else:
        with pytest.raises(UnlawfulEntryError, match="tenant can't come after released"):
            following(chain, "tenant", host=HOST, at=6, tenant="green", claim="1")


def test_a_host_that_is_new_must_be_wiped_too() -> None:
    with pytest.raises(UnlawfulEntryError):
        following(lived()[:1], "tenant", host=HOST, at=6, tenant="green", claim="1")


@pytest.mark.parametrize(("level", "proof"), [("", PROOF), ("quick", PROOF), ("full", {})])
def test_a_wipe_needs_a_level_and_a_proof(level: str, proof: dict[str, str]) -> None:
    with pytest.raises(UnlawfulEntryError, match="without a level and a proof"):
        following(lived()[:1], "wiped", host=HOST, at=2, level=level, proof=proof)


def test_only_who_has_a_host_can_release_it() -> None:
    with pytest.raises(UnlawfulEntryError, match="green can't release what blue has"):
        following(lived("blue")[:3], "released", host=HOST, at=4, tenant="green", claim="blue-1")


@given(st.data())
def test_every_change_of_an_entry_shows(data: st.DataObject) -> None:
    chain = lived("blue", "green")
    head, index = digest(chain[-1]), data.draw(st.integers(0, len(chain) - 1))
    changed = data.draw(
        st.sampled_from([{"at": 99}, {"tenant": "mallory"}, {"claim": "x"}, {"level": "x"}, {"proof": {"nonce": "x"}}])
    )
    chain[index] = replace(chain[index], **changed)
    assert found(chain, head)


@given(st.integers(0, 7))
def test_every_entry_that_is_dropped_shows_the_last_one_too(index: int) -> None:
    chain = lived("blue", "green")
    head = digest(chain[-1])
    del chain[index]
    assert found(chain, head)


@given(st.integers(0, 6))
def test_two_entries_that_change_places_show(index: int) -> None:
    chain = lived("blue", "green")
    head = digest(chain[-1])
    chain[index], chain[index + 1] = chain[index + 1], chain[index]
    assert found(chain, head)


def test_a_chain_of_another_host_shows() -> None:
    chain = lived("blue")
    assert any("another host" in str(flaw) for flaw in flaws("host-2", chain, head=digest(chain[-1])))
