"""The storage of a cluster: claims, volumes, classes and CSI nodes, decoded, and cached while a pod with some waits."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from autonodes.core.model import Pod
from autonodes.core.quantities import parse_quantity
from autonodes.core.requirements import Requirement, Requirements, required_terms
from autonodes.core.storage import Storage, StorageClass, Volume, VolumeClaim
from autonodes.kube import wire
from autonodes.kube.cache import Cache
from autonodes.kube.needed import NeededCaches
from autonodes.kube.resources import CSINODES, PVCS, PVS, STORAGECLASSES

_BOUND: Final = "pv.kubernetes.io/bind-completed"
_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"

_ZONE_LABELS: Final = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)
"""On a PersistentVolume they say where it can be reached, as kube-scheduler reads them; ``__`` separates several."""

_IN_TREE: Final = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
}
"""Plugins that used to be part of Kubernetes, and the drivers that their volumes are attached by now."""

_claim = msgspec.json.Decoder(wire.VolumeClaim).decode
_volume = msgspec.json.Decoder(wire.Volume).decode
_class = msgspec.json.Decoder(wire.StorageClass).decode
_csinode = msgspec.json.Decoder(wire.CSINode).decode


def decode_claim(raw: bytes) -> VolumeClaim:
    """A PersistentVolumeClaim."""
    read = _claim(raw)
    metadata, spec = read.metadata, read.spec
    annotations = metadata.annotations or {}
    owner = next((owner for owner in metadata.owner_references or () if owner.controller), None)
    asked = (spec.resources.requests if spec.resources else None) or {}
    return VolumeClaim(
        namespace=sys.intern(metadata.namespace),
        name=metadata.name,
        volume=spec.volume_name,
        bound=_BOUND in annotations,
        lost=read.status.phase == "Lost",
        storage_class=None if spec.storage_class_name is None else sys.intern(spec.storage_class_name),
        storage=_bytes(asked),
        once_per_pod="ReadWriteOncePod" in (spec.access_modes or ()),
        selected_node=annotations.get(_SELECTED_NODE, ""),
        owner=owner.uid if owner else "",
        leaving=metadata.deletion_timestamp is not None,
    )


def decode_volume(raw: bytes) -> Volume:
    """A PersistentVolume."""
    read = _volume(raw)
    metadata, spec = read.metadata, read.spec
    return Volume(
        name=metadata.name,
        terms=_reachable(spec.node_affinity, metadata.labels or {}),
        driver=_driver_of(spec),
        storage_class=sys.intern(spec.storage_class_name),
        storage=_bytes(spec.capacity or {}),
        free=spec.claim_ref is None,
        leaving=metadata.deletion_timestamp is not None,
    )


def decode_storage_class(raw: bytes) -> StorageClass:
    """A StorageClass."""
    read = _class(raw)
    return StorageClass(
        name=read.metadata.name,
        driver=_IN_TREE.get(read.provisioner, read.provisioner),
        provisions=read.provisioner != _NO_PROVISIONER,
        immediate=read.volume_binding_mode != "WaitForFirstConsumer",
        default=(read.metadata.annotations or {}).get(_DEFAULT_CLASS) == "true",
        terms=tuple(
            Requirements(Requirement.of(each.key, "In", each.values) for each in term.match_label_expressions)
            for term in read.allowed_topologies or ()
            if term.match_label_expressions
        ),
    )


def decode_csinode(raw: bytes) -> Mapping[str, int]:
    """Of a CSINode how many volumes of which driver its node can attach; a driver without a limit is not in it."""
    read = _csinode(raw)
    return {
        sys.intern(driver.name): driver.allocatable.count
        for driver in read.spec.drivers or ()
        if driver.allocatable is not None and driver.allocatable.count is not None
    }


def _bytes(quantities: wire.Quantities) -> int:
    return int(parse_quantity(quantities.get("storage", 0), path="storage"))


def _reachable(affinity: wire.VolumeNodeAffinity | None, labels: Mapping[str, str]) -> tuple[Requirements, ...]:
    by_label = Requirements(
        Requirement.of(key, "In", labels[key].split("__")) for key in _ZONE_LABELS if labels.get(key)
    )
    if affinity is None or affinity.required is None:
        return (by_label,) if by_label else ()
    terms = [
        (_expressions(term.match_expressions), _expressions(term.match_fields))
        for term in affinity.required.node_selector_terms
    ]
    return tuple(term & by_label for term in required_terms({}, terms, path="spec.nodeAffinity.required"))


def _expressions(listed: list[wire.Expression] | None) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return tuple((each.key, each.operator, tuple(each.values or ())) for each in listed or ())


def _driver_of(spec: wire.VolumeSpec) -> str:
    if spec.csi is not None:
        return sys.intern(spec.csi.driver)
    moved = {
        "kubernetes.io/aws-ebs": spec.aws_elastic_block_store,
        "kubernetes.io/gce-pd": spec.gce_persistent_disk,
        "kubernetes.io/azure-disk": spec.azure_disk,
        "kubernetes.io/cinder": spec.cinder,
        "kubernetes.io/vsphere-volume": spec.vsphere_volume,
    }
    return next((_IN_TREE[plugin] for plugin, source in moved.items() if source is not None), "")


class StorageCaches(NeededCaches):
    """While a pod waits that has volumes."""

    def wanted_by(self, pod: Pod) -> bool:
        return bool(pod.volumes)

    def make(self) -> tuple[Cache[Any], ...]:
        return (
            Cache(self.client, PVCS, decode_claim, self.clock),
            Cache(self.client, PVS, decode_volume, self.clock),
            Cache(self.client, STORAGECLASSES, decode_storage_class, self.clock),
            Cache(self.client, CSINODES, decode_csinode, self.clock),
        )

    def contents(self) -> Storage:
        """What is there now; nothing while nobody needs it."""
        if not self.running:
            return Storage()
        claims, volumes, classes, csinodes = (cache.items for cache in self.running)
        return Storage(claims=claims, volumes=volumes, classes=classes, attach_limits=csinodes)
