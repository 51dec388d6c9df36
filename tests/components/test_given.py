"""Binaries that the user gives are taken when they are the pinned ones, and refused with a reason when not."""

from pathlib import Path

import pytest

from autonodes.components.errors import RefusedBinary
from autonodes.components.given import GivenBinary, find_given, given_directories
from autonodes.components.pins import Pin, select
from component_releases import put_script, script


def find(directories: list[Path], *names: str) -> dict[str, GivenBinary]:
    return {binary: it for (_, binary), it in find_given(select(names), directories).items()}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    directory = tmp_path / "given"
    directory.mkdir()
    return directory


def test_the_environment_names_directories_separated_by_colons() -> None:
    assert given_directories({"AUTONODES_COMPONENTS": "/a::/b/c"}) == (Path("/a"), Path("/b/c"))
    assert given_directories({}) == ()


def test_only_what_is_wanted_is_taken(given: Path, kine: Pin) -> None:
    path = put_script(given / "kine", script(kine.version))
    put_script(given / "runc", script("0.0.1"))
    assert find([given], "kine", "kubectl") == {"kine": GivenBinary(path, confirmed=True)}


def test_the_first_directory_wins(given: Path, tmp_path: Path, kine: Pin) -> None:
    put_script(given / "kine", script(kine.version))
    first = put_script(tmp_path / "first" / "kine", script(kine.version))
    assert find([tmp_path / "first", given], "kine")["kine"].path == first


def test_another_version_is_refused(given: Path, kine: Pin) -> None:
    put_script(given / "kine", script("0.17.4"))
    with pytest.raises(RefusedBinary, match=rf"kine is version 0\.17\.4, and {kine.version} is pinned: give kine"):
        find([given], "kine")


@pytest.mark.parametrize("suffix", ["-rc.1", ".1", "0"])
def test_a_version_that_only_begins_like_the_pinned_one_is_refused(given: Path, kine: Pin, suffix: str) -> None:
    put_script(given / "kine", script(kine.version + suffix))
    with pytest.raises(RefusedBinary):
        find([given], "kine")


def test_build_metadata_makes_no_difference(given: Path, kine: Pin) -> None:
    put_script(given / "kine", script(f"{kine.version}+k3s1"))
    assert find([given], "kine")["kine"].confirmed


def test_a_binary_that_says_no_version_is_taken_unconfirmed(given: Path) -> None:
    put_script(given / "kine", "#!/bin/sh\necho unknown flag --version >&2; exit 2\n")
    assert not find([given], "kine")["kine"].confirmed


def test_a_plugin_is_asked_without_the_environment_of_a_caller(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNI_COMMAND", "ADD")
    put_script(given / "bridge", '#!/bin/sh\necho "arguments:$# ${CNI_COMMAND}plugin v1.9.1" >&2\n')
    assert find([given], "bridge")["bridge"].confirmed


def test_a_binary_for_another_machine_is_refused(given: Path) -> None:
    put_script(given / "kine", b"\x7fELF\x02\x01\x01 of some other kind")
    with pytest.raises(RefusedBinary, match="can't be run"):
        find([given], "kine")


def test_a_file_that_is_not_executable_is_refused(given: Path) -> None:
    put_script(given / "kine", "").chmod(0o644)
    with pytest.raises(RefusedBinary, match=r"not executable: chmod \+x"):
        find([given], "kine")


def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedBinary, match="is not a directory"):
        find([tmp_path / "nowhere"], "kine")
