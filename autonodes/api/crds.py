"""The CustomResourceDefinitions, generated from the models.

``python -m autonodes.api.crds`` prints them as one YAML stream, ready for ``kubectl apply --server-side -f -``.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import yaml

from autonodes.api import plugins
from autonodes.api.awsnodeclass import AWSNodeClass
from autonodes.api.baremetal import BareMetalHost, MetalNodeClass
from autonodes.api.capacitybuffer import CapacityBuffer
from autonodes.api.libvirtnodeclass import LibvirtNodeClass
from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeclass import KwokNodeClass, LocalNodeClass
from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.api.nodepool import NodePool
from autonodes.api.objects import CustomResource
from autonodes.api.structural import root_schema

KINDS: Final[tuple[type[CustomResource], ...]] = (
    *(NodePool, NodeClaim, NodeOverlay),
    *(LocalNodeClass, KwokNodeClass, AWSNodeClass, LibvirtNodeClass),
    *(MetalNodeClass, BareMetalHost),
)
"""All kinds of custom resources of this project, in the order in which they are installed."""

OTHERS: Final[tuple[type[CustomResource], ...]] = (CapacityBuffer,)
"""Kinds of others that this project reads; their definitions are installed only where they are missing."""


def crds() -> list[dict[str, Any]]:
    """One ``apiextensions.k8s.io/v1`` CustomResourceDefinition a kind; always the same, ready to be applied."""
    return [crd(kind) for kind in (*KINDS, *plugins.node_classes().values())]


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
