"""Kubeconfig files with the client certificate inside. They are credentials: always 0600."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from syncer.files import write_atomically
from syncer.pki import CLUSTER_CA, Pki


def write(path: Path, *, pki: Pki, user: str, server: str, cluster: str) -> None:
    """Write ``path`` for the client certificate ``user``, unless it says the same already."""
    content = render(pki=pki, user=user, server=server, cluster=cluster)
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def render(*, pki: Pki, user: str, server: str, cluster: str) -> bytes:
    """:param server: ``https://host:port``"""
    context = f"{user}@{cluster}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": _inline(pki.certificate(CLUSTER_CA)),
                },
            }
        ],
        "users": [
            {
                "name": context,
                "user": {
                    "client-certificate-data": _inline(pki.certificate(user)),
                    "client-key-data": _inline(pki.key(user)),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": context}}],
        "current-context": context,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
