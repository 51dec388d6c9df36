from __future__ import annotations

import json

import pytest

from autonodes.core.errors import ConfigError
from autonodes.core.recording import Recording, decode, encode
from core.parts import machine, pod, pool, snapshot

RECORDED = encode(Recording(snapshot=snapshot([pod("a", cpu=1)], types=[machine("m")], pools=[pool("x"), pool("y")])))


def test_a_catalogue_that_several_pools_sell_is_written_once() -> None:
    assert RECORDED.count(b'"offerings"') == 1
    types = decode(RECORDED).snapshot.instance_types
    assert types["x"] is types["y"]


def test_what_has_its_default_is_left_out() -> None:
    (written,) = json.loads(RECORDED)["snapshot"]["pods"]
    assert set(written) == {"uid", "namespace", "name", "requests", "required_terms", "unschedulable"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "a.json: is not a recorded snapshot"),
        (b'{"kind":"Pod"}', "a.json: is not a recorded snapshot"),
        (RECORDED[:-20], "a.json: is not a recorded snapshot"),
        (RECORDED.replace(b'"format":1', b'"format":2'), "a.json.format: 2: this release reads format 1"),
        (RECORDED.replace(b'"now":', b'"then":1,"now":'), "a.json.then: this release does not know the field"),
        (RECORDED.replace(b'"cpu":1000', b'"cpu":"lots"'), "a.json: is damaged"),
        (RECORDED.replace(b'"x":0', b'"x":7'), "a.json: is damaged"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(text: bytes, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text, source="a.json")
    assert str(caught.value).startswith(says)
