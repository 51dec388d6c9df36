"""Karpenter's published CustomResourceDefinitions, from the Go module that ``hack/peers/karpenter`` pins."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

_PIN = Path(__file__).parents[2] / "hack" / "peers" / "karpenter"
_MODULE = "sigs.k8s.io/karpenter"


@functools.cache
def _crd_dir() -> Path:
    """In Go's module cache; ``go`` downloads the module if it is not there and checks it against go.sum."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", _MODULE], cwd=_PIN, capture_output=True, text=True, timeout=240, check=False
    )
    answer = json.loads(done.stdout or "{}")
    assert not done.returncode, f"go mod download {_MODULE}: {answer.get('Error') or done.stderr}"
    return Path(answer["Dir"]) / "pkg" / "apis" / "crds"


@pytest.fixture(scope="session")
def published_crd() -> Callable[[str], dict[str, Any]]:
    """Called with ``nodepools`` or ``nodeclaims``."""

    def read(plural: str) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((_crd_dir() / f"karpenter.sh_{plural}.yaml").read_text())
        return document

    return read
