"""Where clusters live, and what is remembered of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autonodes.cli import state
from autonodes.cli.settings import Settings
from autonodes.cli.state import Record
from autonodes.core.errors import ConfigError, EnvironmentFault

SETTINGS = Settings(providers=("local",), hosts=("api.example.com",))
RECORD = Record(port=6443, konnectivity_port=8132, uplink="100.64.0.0/30", settings=SETTINGS, components=("/opt/bin",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patched:
        patched.setenv("AUTONODES_HOME", str(tmp_path / "home"))
        yield tmp_path / "home"
        state.cluster("a").remove()


def test_what_is_remembered_comes_back(home: Path) -> None:
    cluster = state.cluster("a")
    assert cluster.record() is None
    cluster.remember(RECORD)
    assert state.cluster("a").record() == RECORD
    assert [each.name for each in state.clusters()] == ["a"]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"port": 1}', '{"port": 1, "components": [], "colour": "red"}'])
def test_a_damaged_record_is_named_with_a_way_out(home: Path, content: str) -> None:
    cluster = state.cluster("a")
    cluster.make_directories()
    cluster.record_file.write_text(content)
    with pytest.raises(EnvironmentFault, match=r"cluster\.json is damaged") as raised:
        cluster.record()
    assert "autonodes down --name a" in raised.value.remedy


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a/b", "..", "a" * 33])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        state.cluster(name)


def test_a_cluster_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(EnvironmentFault, match="no cluster b") as raised:
        state.existing_cluster("b")
    assert "there is none at all" in raised.value.remedy
    state.cluster("a").remember(RECORD)
    with pytest.raises(EnvironmentFault) as raised:
        state.existing_cluster("b")
    assert "there are a" in raised.value.remedy


def test_clusters_of_one_name_in_two_homes_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state.cluster("a")
    monkeypatch.setenv("AUTONODES_HOME", str(tmp_path / "other"))
    second = state.cluster("a")
    assert first.directory != second.directory
    assert first.run_dir != second.run_dir


@pytest.mark.parametrize("runtime", [None, "/run/user/1000", f"/run/{'x' * 80}"])
def test_sockets_have_room_in_the_run_directory(monkeypatch: pytest.MonkeyPatch, runtime: str | None) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert len(str(state.cluster("a" * 32).run_dir / "konnectivity.sock")) < 108


def test_everything_is_for_its_owner_only_and_goes_at_the_end(home: Path) -> None:
    cluster = state.cluster("a")
    cluster.make_directories()
    cluster.remember(RECORD)
    assert cluster.directory.stat().st_mode & 0o777 == 0o700
    assert cluster.record_file.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        cluster.remove()
        assert not cluster.directory.exists()
        assert not cluster.run_dir.exists()
