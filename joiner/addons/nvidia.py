"""NVIDIA's device plug-in, as an add-on for those who want it: a DaemonSet and a ConfigMap for each profile.

It runs where the node's labels speak of NVIDIA's GPUs, and nowhere else; so what it takes of a node is counted before
the node is bought. Driver and container runtime are the node image's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any, Final

import yaml

from autonodes.api.deviceplugin import CONFIG_LABEL, NvidiaDevicePlugin

LABELS: Final[Mapping[str, str]] = {
    "app.kubernetes.io/name": "nvidia-device-plugin",
    "app.kubernetes.io/managed-by": "autonodes",
}
"""Of all its objects."""
NAMESPACE: Final = "kube-system"
_MARKS: Final = (
    {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]},
    {"key": "karpenter.k8s.aws/instance-gpu-manufacturer", "operator": "In", "values": ["nvidia"]},
)
"""Either says that a node has NVIDIA's GPUs: feature discovery and our own machines say it, and EC2's types."""

_ENV: Final = (
    {"name": "CONFIG_FILE", "value": "/config/config.yaml"},
    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
)
_MIG_ENV: Final = ({"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"},)
_SECURITY: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_MIG_SECURITY: Final = {"capabilities": {"add": ["SYS_ADMIN"]}}
"""NVIDIA's container runtime shows MIG instances to nobody with less."""


def device_plugin(settings: NvidiaDevicePlugin) -> list[dict[str, Any]]:
    """Its objects; none if it is not wanted."""
    if not settings.enabled:
        return []
    text = resources.files(__package__).joinpath("nvidia-device-plugin.yaml").read_text()
    documents: list[dict[str, Any]] = []
    for name, profile in settings.by_name().items():
        config = json.dumps(profile.document())
        has_mig = profile.mig_strategy != "none"
        values = {
            "name": "nvidia-device-plugin" if name == "default" else f"nvidia-device-plugin-{name}",
            "image": json.dumps(settings.image),
            "profile": name,
            "config": json.dumps(config),
            "hash": hashlib.sha256(config.encode()).hexdigest()[:16],
            "terms": json.dumps([{"matchExpressions": [mark, *_chosen(name, settings)]} for mark in _MARKS]),
            "env": json.dumps([*_ENV, *(_MIG_ENV if has_mig else ())]),
            "security": json.dumps(_MIG_SECURITY if has_mig else _SECURITY),
        }
        documents += yaml.safe_load_all(Template(text).substitute(values))
    return documents


def _chosen(name: str, settings: NvidiaDevicePlugin) -> list[dict[str, Any]]:
    """A node without the label, or with one that names no profile, takes the default."""
    if name != "default":
        return [{"key": CONFIG_LABEL, "operator": "In", "values": [name]}]
    others = sorted(settings.profiles)
    return [{"key": CONFIG_LABEL, "operator": "NotIn", "values": others}] if others else []
