"""``privateNodes.autoNodes`` as objects: a NodePool a pool, a node class a provider.

They carry the label `ORIGIN`, so that what was taken out of the file can be told from what somebody made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from autonodes.api import plugins
from autonodes.api.awsnodeclass import AWSNodeClass
from autonodes.api.baremetal import MetalNodeClass
from autonodes.api.libvirtnodeclass import LibvirtNodeClass
from autonodes.api.nodeclass import KwokNodeClass, LocalNodeClass
from autonodes.api.nodepool import NodePool
from autonodes.api.objects import CustomResource
from autonodes.api.validation import nearest, validate
from autonodes.api.vcluster import AutoNodes, DynamicPool, NodeTypeRequirement, VClusterConfig
from autonodes.core import labels
from autonodes.core.errors import ConfigError

ORIGIN: Final = {"app.kubernetes.io/managed-by": "vcluster.yaml"}

NODE_CLASSES: Final[Mapping[str, type[CustomResource]]] = {
    "local": LocalNodeClass,
    "kwok": KwokNodeClass,
    "aws": AWSNodeClass,
    "metal": MetalNodeClass,
    "libvirt": LibvirtNodeClass,
}
"""Provider → the kind of its node class, of those that come with this project."""

OF_ITS_OWN: Final = frozenset({"aws", "metal"})
"""Providers whose node class names things of an account or a place: the user writes it, under the provider's name."""


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


_Properties = Mapping[str, tuple[str, Callable[[str], Any]]]
_ZONED: Final[_Properties] = {"zones": ("zones", _words)}
_LIBVIRT: Final[_Properties] = {
    "uris": ("hypervisors", lambda text: [{"uri": uri} for uri in _words(text)]),
    "pool": ("pool", str),
    "network": ("network", str),
}
"""Properties that are the node class's → its field and how it is read; all others are options of the provider."""

_PROPERTIES: Final[Mapping[str, str]] = {
    "instance-type": labels.INSTANCE_TYPE,
    "zone": labels.ZONE,
    "region": labels.REGION,
    "capacity-type": labels.CAPACITY_TYPE,
    "arch": labels.ARCH,
    "os": labels.OS,
}
"""Short names of well-known labels, as a node type's properties are called."""


def objects(config: VClusterConfig) -> list[dict[str, Any]]:
    """Node classes and NodePools, ready to be applied in this order.

    :raises ConfigError: a provider or property that nobody knows
    """
    documents = []
    for index, auto_nodes in enumerate(config.private_nodes.auto_nodes):
        path = f"privateNodes.autoNodes[{index}]"
        kind = _node_class_kind(auto_nodes, path)
        if auto_nodes.provider not in OF_ITS_OWN:
            documents.append(_node_class(kind, auto_nodes))
        for number, pool in enumerate(auto_nodes.dynamic):
            document = _node_pool(pool, kind, auto_nodes, path=f"{path}.dynamic[{number}]")
            validate(NodePool, document, source=f"{path}.dynamic[{number}]")
            documents.append(document)
    return documents


def options(auto_nodes: AutoNodes) -> dict[str, str]:
    """What goes to the provider itself."""
    return {key: value for key, value in auto_nodes.properties.items() if key not in {**_ZONED, **_LIBVIRT}}


def _node_class_kind(auto_nodes: AutoNodes, path: str) -> type[CustomResource]:
    known = NODE_CLASSES.get(auto_nodes.provider)
    if known is not None:
        return known
    kinds = {**plugins.node_classes(), **NODE_CLASSES}
    kind = kinds.get(auto_nodes.provider)
    if kind is None:
        close = nearest(auto_nodes.provider, kinds)
        remedy = f"known providers are {', '.join(sorted(kinds))}" + (f"; did you mean {close}?" if close else "")
        raise ConfigError(f"{path}.provider", auto_nodes.provider, remedy)
    return kind


def _node_class(kind: type[CustomResource], auto_nodes: AutoNodes) -> dict[str, Any]:
    spec = _LIBVIRT if kind is LibvirtNodeClass else _ZONED
    document = {
        **kind.type_meta(),
        "metadata": {"name": auto_nodes.provider, "labels": dict(ORIGIN)},
        "spec": {
            field: read(value) for name, (field, read) in spec.items() if (value := auto_nodes.properties.get(name))
        },
    }
    validate(kind, document, source=f"the properties of provider {auto_nodes.provider}")
    return document


def _node_pool(pool: DynamicPool, kind: type[CustomResource], auto_nodes: AutoNodes, *, path: str) -> dict[str, Any]:
    meta = kind.type_meta()
    reference = {
        "group": meta["apiVersion"].partition("/")[0],
        "kind": meta["kind"],
        "name": auto_nodes.provider,
    }
    requirements = [
        _requirement(each, path=f"{path}.nodeTypeSelector[{number}]")
        for number, each in enumerate(pool.node_type_selector)
    ]
    claim = {
        "nodeClassRef": reference,
        "requirements": requirements,
        "taints": _dumped(pool.taints),
        "expireAfter": pool.expire_after,
        "terminationGracePeriod": pool.termination_grace_period,
    }
    spec = {
        "template": {"metadata": {"labels": dict(pool.node_labels)}, "spec": _given(claim)},
        "disruption": {
            "consolidateAfter": pool.disruption.consolidate_after,
            "consolidationPolicy": pool.disruption.consolidation_policy,
            "budgets": _dumped(pool.disruption.budgets),
        },
        "limits": dict(pool.limits),
        "weight": pool.weight,
    }
    metadata = {"name": pool.name, "labels": dict(ORIGIN), "annotations": _money(pool)}
    return {**NodePool.type_meta(), "metadata": _given(metadata), "spec": _given(spec)}


def _money(pool: DynamicPool) -> dict[str, str]:
    """Karpenter's NodePool has no field for it, so that it is said in annotations."""
    limits = {labels.MAX_HOURLY_COST: pool.max_hourly_cost, labels.MAX_MONTHLY_COST: pool.max_monthly_cost}
    return {key: str(limit) for key, limit in limits.items() if limit is not None}


def _requirement(requirement: NodeTypeRequirement, *, path: str) -> dict[str, Any]:
    name = requirement.property
    if name not in _PROPERTIES and "/" not in name:
        close = nearest(name, _PROPERTIES)
        remedy = f"write one of {', '.join(sorted(_PROPERTIES))}, or a label with a '/'"
        raise ConfigError(f"{path}.property", name, remedy + (f"; did you mean {close}?" if close else ""))
    document = {"key": _PROPERTIES.get(name, name), "operator": requirement.operator}
    return document | ({"values": list(requirement.values)} if requirement.values else {})


def _dumped(models: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in models]


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the file left open; requirements are required, even when there are none."""
    return {key: value for key, value in fields.items() if value or key == "requirements"}
