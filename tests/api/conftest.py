"""Karpenter's published CustomResourceDefinitions, and an API server that holds them beside ours.

The peer's come from the Go module that ``hack/peers/karpenter`` pins; ``go`` downloads it if it is not in its cache,
and checks it against go.sum. On the API server they live in a group of their own, so that one manifest can be given to
both.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autonodes.api.crds import crds
from autonodes.kube.client import KubeClient
from controlplane import RunningControlPlane, control_plane

PEER_GROUP = "peer.test"
_PIN = Path(__file__).parents[2] / "hack" / "peers" / "karpenter"
_MODULE = "sigs.k8s.io/karpenter"


@functools.cache
def _crd_dir() -> Path:
    done = subprocess.run(
        ["go", "mod", "download", "-json", _MODULE], cwd=_PIN, capture_output=True, text=True, timeout=240, check=False
    )
    answer = json.loads(done.stdout or "{}")
    assert not done.returncode, f"go mod download {_MODULE}: {answer.get('Error') or done.stderr}"
    return Path(answer["Dir"]) / "pkg" / "apis" / "crds"


def _published_crd(plural: str) -> dict[str, Any]:
    (path,) = _crd_dir().glob(f"*_{plural}.yaml")
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


@pytest.fixture(scope="session")
def published_crd() -> Callable[[str], dict[str, Any]]:
    """Called with ``nodepools`` or ``nodeclaims``."""
    return _published_crd


def _peer_crd(plural: str) -> dict[str, Any]:
    definition = _published_crd(plural)
    definition["metadata"] = {"name": f"{plural}.{PEER_GROUP}"}
    definition["spec"]["group"] = PEER_GROUP
    return definition


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningControlPlane]:
    """Ours and the peer's definitions, established."""
    with control_plane(tmp_path_factory.mktemp("api")) as running:
        definitions = [*crds(), _peer_crd("nodepools"), _peer_crd("nodeclaims")]
        running.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(definitions))
        running.until_kinds_are_served()
        yield running


@pytest.fixture
async def client(api: RunningControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        yield client
