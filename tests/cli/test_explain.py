"""`record`'s files, read by `replay` and `explain`; the live side is in test_recorded_cluster.py."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from autonodes.cli import main
from autonodes.cli.explain import explain
from autonodes.cli.looking import packed
from autonodes.core.recording import Recording, encode
from core.parts import machine, pod, ready_node, running, snapshot

NODE, CLAIM = ready_node("n1", cpu=2)
RECORDING = Recording(
    snapshot=snapshot(
        [pod("a", cpu=1), pod("huge", cpu=100), running("b", "n1", cpu=2)],
        types=[machine("small", cpu=2, price=0.1)],
        nodes=[NODE],
        claims=[CLAIM],
    )
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.json.gz"
    path.write_bytes(packed(encode(RECORDING)))
    return path


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    code = exited.value.code
    assert isinstance(code, int)
    return code


def test_replay_prints_a_decision_a_line_and_the_same_ones_again(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("replay", str(recording)) == 0
    first = capsys.readouterr().out
    assert command("replay", str(recording)) == 0
    assert capsys.readouterr().out == first
    assert [(line["decision"], line["who"]) for line in map(json.loads, first.splitlines())] == [
        ("buy", ["default/a"]),
        ("leave", ["default/huge"]),
        ("keep", ["n1"]),
    ]


def test_a_recording_is_read_packed_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "snapshot.json"
    plain.write_bytes(encode(RECORDING))
    assert command("replay", str(plain)) == 0
    assert capsys.readouterr().out.startswith('{"decision":"buy"')


def test_the_same_recording_is_packed_to_the_same_bytes() -> None:
    assert packed(b"text") == packed(b"text")
    assert gzip.decompress(packed(b"text")) == b"text"


def test_a_pod_that_waits_is_explained(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("explain", "pod", "huge", "-f", str(recording)) == 0
    said = capsys.readouterr().out
    assert said.startswith("pod default/huge: Waiting\n  no node can take it and none can be bought: default: ")
    assert "\nNodes (1)\n  1  too little left: cpu 100: n1\n" in said
    assert "\nNodePool default (1 instance types)\n  1  too small: cpu 100: small\n" in said


def test_a_node_is_explained_as_data(recording: Path) -> None:
    arguments = ["node", "n1", "-f", str(recording), "-o", "json"]
    document = json.loads(CliRunner().invoke(explain, arguments, standalone_mode=False).stdout)
    assert document["state"] == "InUse"
    assert document["sections"][-1] == {"title": "Pods that keep it (1)", "lines": ["default/b"]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pod", "x"), 'pod "x" not found in namespace "default"'),
        (("pod", "a", "-n", "web"), 'pod "a" not found in namespace "web"'),
        (("node", "x"), 'node "x" not found'),
        (("nodeclaim", "x"), 'nodeclaim "x" not found'),
    ],
)
def test_an_unknown_name_is_an_error_as_kubectls(
    recording: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert command("explain", *arguments, "-f", str(recording)) == 1
    assert capsys.readouterr().err == f"error: {says}\n"


def test_an_unknown_kind_is_wrong_usage(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("explain", "service", "web", "-f", str(recording)) == 2
    assert "explain knows pod, node and nodeclaim, not 'service'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["replay", "explain"])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    arguments = [name, str(other)] if name == "replay" else [name, "pod", "a", "-f", str(other)]
    assert command(*arguments) == 2
    assert "other.json: is not a recorded snapshot" in capsys.readouterr().err
