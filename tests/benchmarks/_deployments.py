"""Pods for the benchmarks on a real control plane, as a user would ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def deployment(name: str, requests: Mapping[str, str], replicas: int) -> dict[str, Any]:
    """In namespace default; its pods have the label ``app``, which is its name."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": {"requests": dict(requests)}}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
