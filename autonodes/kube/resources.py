"""The kinds that this project reads and writes, and where the API server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from autonodes.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and its address: ``/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME``.

    :param group: "" for the core group
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = False

    @property
    def api_version(self) -> str:
        """As in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", namespace: str | None = None, subresource: str = "") -> str:
        """:raises ValueError: an object of a namespaced kind is named without its namespace, or the name is a path"""
        if name in (".", ".."):
            raise ValueError(f"{self.kind} {name}: no object can have this name")
        if self.namespaced and name and not namespace:
            raise ValueError(f"{self.kind} {name}: a namespace is needed")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        rest = "".join(f"/{quote(part, safe='')}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{rest}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace")
NODES: Final = Resource("", "v1", "nodes", "Node")
PVS: Final = Resource("", "v1", "persistentvolumes", "PersistentVolume")
PODS: Final = Resource("", "v1", "pods", "Pod", True)
SECRETS: Final = Resource("", "v1", "secrets", "Secret", True)
CONFIGMAPS: Final = Resource("", "v1", "configmaps", "ConfigMap", True)
SERVICES: Final = Resource("", "v1", "services", "Service", True)
SERVICEACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
EVENTS: Final = Resource("", "v1", "events", "Event", True)
PVCS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)
REPLICATIONCONTROLLERS: Final = Resource("", "v1", "replicationcontrollers", "ReplicationController", True)
PODTEMPLATES: Final = Resource("", "v1", "podtemplates", "PodTemplate", True)

DAEMONSETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet", True)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment", True)
REPLICASETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet", True)
STATEFULSETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet", True)
JOBS: Final = Resource("batch", "v1", "jobs", "Job", True)
PDBS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)
CSRS: Final = Resource("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest")
STORAGECLASSES: Final = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass")
CSINODES: Final = Resource("storage.k8s.io", "v1", "csinodes", "CSINode")
CSIDRIVERS: Final = Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver")
VOLUMEATTACHMENTS: Final = Resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment")
TOKENREVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview")
PRIORITYCLASSES: Final = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", True)
ROLEBINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
CLUSTERROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole")
CLUSTERROLEBINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding")
VALIDATINGWEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)

PROVISIONINGREQUESTS: Final = Resource(
    "autoscaling.x-k8s.io", "v1", "provisioningrequests", "ProvisioningRequest", True
)
PODGROUPS: Final = Resource("scheduling.k8s.io", "v1beta1", "podgroups", "PodGroup", True)
DEVICECLASSES: Final = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass")
RESOURCECLAIMS: Final = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", True)
CLAIMTEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", True)
RESOURCESLICES: Final = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice")

BAREMETALHOSTS: Final = Resource("autonodes.io", "v1alpha1", "baremetalhosts", "BareMetalHost")
NODEPOOLS: Final = Resource("karpenter.sh", "v1", "nodepools", "NodePool")
NODECLAIMS: Final = Resource("karpenter.sh", "v1", "nodeclaims", "NodeClaim")
NODEOVERLAYS: Final = Resource("karpenter.sh", "v1alpha1", "nodeoverlays", "NodeOverlay")
CAPACITYBUFFERS: Final = Resource("autoscaling.x-k8s.io", "v1beta1", "capacitybuffers", "CapacityBuffer", True)

_KNOWN: Final = {
    (resource.api_version, resource.kind): resource
    for resource in list(globals().values())
    if isinstance(resource, Resource)
}


def node_class(kind: str) -> Resource:
    """The resource of a node class of ours: ``LocalNodeClass`` → ``localnodeclasses.autonodes.io``."""
    return Resource("autonodes.io", "v1alpha1", f"{kind.lower()}es", kind)


def resource_of(body: Mapping[str, Any]) -> Resource:
    """The resource of a manifest, by its ``apiVersion`` and ``kind``.

    :raises ConfigError: a kind that is not known here
    """
    api_version, kind = str(body.get("apiVersion", "")), str(body.get("kind", ""))
    if api_version == "autonodes.io/v1alpha1" and kind.endswith("NodeClass"):
        return node_class(kind)
    try:
        return _KNOWN[api_version, kind]
    except KeyError:
        remedy = "not a kind that this program writes; check apiVersion and kind"
        raise ConfigError("kind", f"{api_version} {kind}", remedy) from None
