"""The template of a provider: what is generated from it passes the kit as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[2] / "hack" / "new-provider"


def test_a_generated_provider_passes_the_kit(tmp_path: Path) -> None:
    target = tmp_path / "autonodes-acme"
    subprocess.run([COMMAND, "acme", target], check=True, capture_output=True)
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", target / "pyproject.toml", target],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert told.returncode == 0, told.stdout
    assert "40 passed" in told.stdout
    for path in target.rglob("*"):
        assert path.is_dir() or b"xample" not in path.read_bytes(), path


def test_a_generated_package_names_its_provider_and_its_node_class(tmp_path: Path) -> None:
    target = tmp_path / "autonodes-acme"
    subprocess.run([COMMAND, "acme", target], check=True, capture_output=True)
    project = (target / "pyproject.toml").read_text()
    assert 'acme = "autonodes_acme.provider:AcmeProvider"' in project
    assert 'acme = "autonodes_acme.nodeclass:AcmeNodeClass"' in project


@pytest.mark.parametrize("name", ["Acme", "../acme", "4acme", "ac-me", ""])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    done = subprocess.run([COMMAND, name, tmp_path / "new"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "acme", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
