"""Rights of the control plane's own users, as objects to apply with the administrator's kubeconfig.

Neither the autonodes controller nor the Konnectivity server is an administrator of the cluster. What the kubelets'
bootstrap needs belongs to the add-ons.
"""

from __future__ import annotations

from typing import Any

from syncer.controlplane.preparation import CONTROLLER_USER, KONNECTIVITY_USER, KUBELET_ADMINS, KWOK_USER

Rule = dict[str, list[str]]
READ = ["get", "list", "watch"]
WRITE = [*READ, "create", "update", "patch", "delete"]


def manifests() -> list[dict[str, Any]]:
    """Cluster roles and bindings, in an order in which they can be applied."""
    return [
        _cluster_role("autonodes:controller", _controller_rules()),
        _binding("autonodes:controller", "autonodes:controller", _subject("User", CONTROLLER_USER)),
        _binding("autonodes:konnectivity-server", "system:auth-delegator", _subject("User", KONNECTIVITY_USER)),
        _cluster_role("autonodes:kwok", _kwok_rules()),
        _binding("autonodes:kwok", "autonodes:kwok", _subject("User", KWOK_USER)),
        _binding("autonodes:kubelet-api-admins", "system:kubelet-api-admin", _subject("Group", KUBELET_ADMINS)),
    ]


def _controller_rules() -> list[Rule]:
    return [
        _rule("", ["pods", "persistentvolumes", "persistentvolumeclaims", "namespaces", "services"], READ),
        _rule("", ["replicationcontrollers"], READ),
        _rule("", ["pods"], ["delete", "patch"]),
        _rule("", ["pods/status"], ["patch", "update"]),
        _rule("", ["pods/eviction"], ["create"]),
        _rule("", ["nodes", "nodes/status"], WRITE),
        _rule("", ["events"], ["create", "patch", "update"]),
        _rule("events.k8s.io", ["events"], ["create", "patch", "update"]),
        _rule("", ["secrets", "configmaps"], WRITE),
        _rule("", ["podtemplates"], READ),
        _rule("autoscaling.x-k8s.io", ["capacitybuffers", "provisioningrequests"], READ),
        _rule("autoscaling.x-k8s.io", ["capacitybuffers/status", "provisioningrequests/status"], ["patch"]),
        _rule("apps", ["daemonsets", "replicasets", "statefulsets", "deployments"], READ),
        _rule("apps", ["deployments"], ["patch"]),
        _rule("policy", ["poddisruptionbudgets"], READ),
        _rule("storage.k8s.io", ["storageclasses", "csinodes", "csidrivers", "csistoragecapacities"], READ),
        _rule("storage.k8s.io", ["volumeattachments"], [*READ, "delete"]),
        _rule("scheduling.k8s.io", ["priorityclasses", "podgroups"], READ),
        _rule("resource.k8s.io", ["*"], READ),
        _rule("resource.k8s.io", ["resourceslices"], ["create"]),  # of simulated nodes, by the kwok provider
        _rule("coordination.k8s.io", ["leases"], WRITE),
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], READ),
        _rule("karpenter.sh", ["*"], WRITE),
        _rule("autonodes.io", ["*"], WRITE),
        *_certificate_rules(),
    ]


def _kwok_rules() -> list[Rule]:
    """It plays the kubelet of simulated nodes."""
    return [
        _rule("", ["nodes", "pods"], [*READ, "patch", "update", "delete"]),
        _rule("", ["nodes/status", "pods/status"], ["patch", "update"]),
        _rule("", ["events"], ["create", "patch", "update"]),
        _rule("coordination.k8s.io", ["leases"], WRITE),
    ]


def _certificate_rules() -> list[Rule]:
    signers = ["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"]
    approve = _rule("certificates.k8s.io", ["signers"], ["approve"])
    return [
        _rule("certificates.k8s.io", ["certificatesigningrequests"], [*READ, "delete"]),
        _rule("certificates.k8s.io", ["certificatesigningrequests/approval"], ["update", "patch"]),
        {**approve, "resourceNames": signers},
    ]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _cluster_role(name: str, rules: list[Rule]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }


def _binding(name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _subject(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
