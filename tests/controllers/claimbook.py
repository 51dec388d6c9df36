"""NodeClaims and pools for tests that need no API server."""

from __future__ import annotations

from typing import Any

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodepool import NodePool
from autonodes.api.objects import moment

NOW = 1_700_000_000.0

_CLASS = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}


def shown(seconds: float) -> str:
    """As the API server shows it."""
    return moment(seconds).isoformat().replace("+00:00", "Z")


def claim(
    *true: str,
    since: float = NOW,
    created: float = NOW,
    deleted: float | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> NodeClaim:
    """:param true: the conditions that are True, ``since`` then"""
    metadata = {"name": "default-abcde", "uid": "uid-1", "creationTimestamp": shown(created)}
    if deleted is not None:
        metadata["deletionTimestamp"] = shown(deleted)
    conditions = [
        {"type": type_, "status": "True", "reason": type_, "lastTransitionTime": shown(since)} for type_ in true
    ]
    return NodeClaim.from_api(
        {
            **NodeClaim.type_meta(),
            "metadata": {**metadata, "annotations": annotations or {}, "labels": {"karpenter.sh/nodepool": "default"}},
            "spec": {"requirements": [], "nodeClassRef": _CLASS, **spec},
            "status": {"providerID": "cloud://1", "conditions": conditions},
        }
    )


def pool(name: str = "default", **template: Any) -> NodePool:
    spec = {"metadata": template.pop("metadata", {}), "spec": {"requirements": [], "nodeClassRef": _CLASS, **template}}
    metadata = {"name": name, "uid": "pool-uid"}
    return NodePool.from_api({**NodePool.type_meta(), "metadata": metadata, "spec": {"template": spec}})
