"""The command as a process: what it prints, where, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autonodes import __version__
from cluster import COMMAND


def run(
    *arguments: str, home: Path, prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, str(COMMAND), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "AUTONODES_HOME": str(home), **environment},
    )


def test_the_version_is_told(tmp_path: Path) -> None:
    assert run("--version", home=tmp_path).stdout == f"autonodes, version {__version__}\n"


def test_help_lists_what_a_user_needs_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['autonodes', '--help']\n"
        "from autonodes.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'aiohttp', 'kopf', 'grpc', 'rich', 'cryptography', 'yaml'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(command in said for command in ("up", "status", "kubeconfig", "down", "components"))
    assert "supervise" not in said
    assert said.endswith("[]\n")


def test_a_mistyped_command_is_corrected(tmp_path: Path) -> None:
    done = run("statsu", home=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'status'?" in done.stderr


@pytest.mark.parametrize("command", ["status", "kubeconfig", "supervise", "controller"])
def test_a_cluster_that_is_not_there_is_an_error_with_a_way_out(tmp_path: Path, command: str) -> None:
    done = run(command, "--name", "nowhere", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no cluster nowhere")
    assert "autonodes up --name nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_removing_a_cluster_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    done = run("down", "--name", "nowhere", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no cluster nowhere: nothing to do\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--name", "Bad_Name"), "--name: 'Bad_Name'"),
        (("up", "--provider", "kwock"), "did you mean kwok?"),
        (("up", "--wait", "long"), "'long' is not a valid float"),
        (("up", "--components", "/nowhere"), "'/nowhere' does not exist"),
        (("kubeconfig", "--nam", "x"), "--name"),
    ],
)
def test_wrong_usage_ends_with_two_and_starts_nothing(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments, home=tmp_path / "home")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_wrong_configuration_is_told_whole_and_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "vcluster.yaml"
    file.write_text("controlPlane: {proxy: {prot: 6443}}\nnetworking: {podCIDR: ten}\n")
    done = run("up", "-f", str(file), home=tmp_path / "home")
    assert done.returncode == 2
    assert f'error: {file}: controlPlane.proxy.prot: 6443: unknown key "prot": did you mean "port"?' in done.stderr
    assert "networking.podCIDR" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("up", "-f", str(tmp_path / "nowhere.yaml"), home=tmp_path / "home")
    assert done.returncode == 1
    assert "nowhere.yaml can't be read" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_without_root_the_local_provider_is_refused_and_kwok_is_named() -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if subprocess.run([*nobody, str(COMMAND), "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this checkout can't be read by another user")
    done = run("up", home=Path("/nowhere/that/nobody/may/write"), prefix=nobody)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the local provider needs root")
    assert "autonodes up --provider kwok" in done.stderr
