"""The CustomResourceDefinitions, generated from the models.

``python -m autonodes.api.crds`` prints them as one YAML stream, ready for ``kubectl apply --server-side -f -``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from typing import Any, Final

import yaml

from autonodes.api import plugins
from autonodes.api.autonodes import NODE_CLASSES
from autonodes.api.baremetal import BareMetalHost
from autonodes.api.capacitybuffer import CapacityBuffer
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.api.nodepool import NodePool
from autonodes.api.objects import CustomResource
from autonodes.api.structural import root_schema

ALWAYS: Final[tuple[type[CustomResource], ...]] = (NodePool, NodeClaim, NodeOverlay)
"""What every cluster has."""

INVENTORIES: Final[Mapping[str, type[CustomResource]]] = {"metal": BareMetalHost}
"""Provider → the kind that lists its machines, where users write that list."""

KINDS: Final[tuple[type[CustomResource], ...]] = (*ALWAYS, *NODE_CLASSES.values(), *INVENTORIES.values())
"""All kinds of custom resources of this project, in the order in which they are installed."""

OTHERS: Final[tuple[type[CustomResource], ...]] = (CapacityBuffer,)
"""Kinds of others that this project reads; their definitions are installed only where they are missing."""


def crds(providers: Collection[str] | None = None) -> list[dict[str, Any]]:
    """One ``apiextensions.k8s.io/v1`` CustomResourceDefinition a kind; always the same, ready to be applied.

    :param providers: whose kinds are wanted, None for all: each kind costs the API server about a megabyte
    """
    ours = {**NODE_CLASSES, **plugins.node_classes()}
    wanted = ours if providers is None else [each for each in ours if each in providers]
    kinds = (*ALWAYS, *(ours[each] for each in wanted), *(INVENTORIES[each] for each in wanted if each in INVENTORIES))
    return [crd(kind) for kind in kinds]


def other_crds() -> list[dict[str, Any]]:
    """The same of `OTHERS`."""
    return [crd(kind) for kind in OTHERS]


def crd(kind: type[CustomResource]) -> dict[str, Any]:
    """The definition of one kind; every kind has one version."""
    group, _, version = kind.type_meta()["apiVersion"].partition("/")
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": _names(kind),
            "scope": kind.scope,
            "versions": [_version(kind, version)],
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(definition))  # nothing shared with the models
    return plain


def _names(kind: type[CustomResource]) -> dict[str, Any]:
    name = kind.type_meta()["kind"]
    names: dict[str, Any] = {
        "kind": name,
        "listKind": f"{name}List",
        "plural": kind.plural,
        "singular": name.lower(),
        "categories": list(kind.categories),
    }
    return names | ({"shortNames": list(kind.short_names)} if kind.short_names else {})


def _version(kind: type[CustomResource], version: str) -> dict[str, Any]:
    return {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root_schema(kind)},
        "subresources": {"status": {}} | ({"scale": dict(kind.scale)} if kind.scale else {}),
        "additionalPrinterColumns": [dict(column) for column in kind.columns],
    }


def main() -> None:
    """Print all definitions."""
    yaml.safe_dump_all(crds(), sys.stdout, sort_keys=False, width=120)


if __name__ == "__main__":
    main()
