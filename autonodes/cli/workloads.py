"""From Kubernetes objects to pods that wait, as the workload controllers would make them.

A workload counts with as many pods as it asks for (a Job with its parallelism). Objects that have nothing to do with
planning are passed over, by name. One with a fault is left out and reported, as is one of an unknown kind that would
make pods; the rest is planned all the same.

What comes from a cluster (``kubectl get nodes,pods,… -o yaml``) is taken as it is: bound pods take room on their nodes,
and workloads whose pods are there too are not expanded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from autonodes.api.nodeclaim import NodeClaim
from autonodes.api.nodeoverlay import NodeOverlay
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import nearest, validate
from autonodes.cli import podspecs
from autonodes.cli.deviceobjects import DeviceObjects
from autonodes.cli.documents import Document
from autonodes.cli.roomobjects import RoomObjects
from autonodes.cli.storageobjects import StorageObjects
from autonodes.controllers.claims import has_ended
from autonodes.core import model
from autonodes.core.devices import DeviceState
from autonodes.core.errors import AutonodesError, ConfigError, InvalidDocumentError
from autonodes.core.model import PodUID
from autonodes.core.overlays import Overlay
from autonodes.core.storage import Storage
from autonodes.kube.decoding import decode_daemonset, decode_node, decode_pod
from autonodes.kube.podgroups import decode_podgroup

_SYSTEM_PRIORITIES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_BUILT_IN: Final = (None, "", "apps", "batch", "karpenter.sh")
"""API groups in which all kinds are known here, and other names for them are slips; None where no group is given."""
_OTHERS: Final = ("ResourceQuota",)
"""Kinds of those groups whose names are close to one that is known."""
_CONTROLLERS: Final = {"Deployment": "ReplicaSet"}
"""Whose pods belong to an object that it makes."""


@dataclass
class Workloads:
    """What the documents come to.

    :param workloads: pod → ``namespace/name`` of the object that it was made from
    :param passed_over: kinds that planning has no use for
    :param notes: what was taken to be so although nothing says it
    """

    pods: list[model.Pod] = field(default_factory=list)
    daemonsets: list[model.DaemonSet] = field(default_factory=list)
    pools: list[model.NodePool] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    static_pools: list[model.NodePool] = field(default_factory=list)
    nodes: list[model.Node] = field(default_factory=list)
    claims: list[model.Claim] = field(default_factory=list)
    groups: list[model.PodGroup] = field(default_factory=list)
    devices: DeviceState = field(default_factory=DeviceState)
    storage: Storage = field(default_factory=Storage)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    workloads: dict[PodUID, str] = field(default_factory=dict)
    passed_over: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    faults: list[AutonodesError] = field(default_factory=list)


def expand(documents: Iterable[Document]) -> Workloads:
    """All documents together."""
    listed = _once(documents, found := Workloads())
    expansion = _Expansion(listed, found)
    for document in listed:
        reader = expansion.reader(document)
        if reader is None:
            _pass_over(document, expansion.known, found)
            continue
        try:
            reader(document)
        except InvalidDocumentError as error:
            found.faults.extend(InvalidDocumentError(error.source, [each]) for each in error.errors)
        except ConfigError as error:
            found.faults.append(InvalidDocumentError(document.source, [error]))
        except msgspec.ValidationError as error:
            found.faults.append(InvalidDocumentError(document.source, [_mistyped(error)]))
    expansion.complete()
    return found


def _pass_over(document: Document, known: Mapping[str, str], found: Workloads) -> None:
    """With a fault where pods would come of it: one that is misspelt, or whose controller is not known here."""
    close = nearest(document.kind, known) if document.group in _BUILT_IN else None
    if document.kind in _OTHERS or not (close or _has_template(document)):
        found.passed_over.add(f"{document.kind}.{document.group}" if document.kind in known else document.kind)
        return
    remedy = "it makes pods in a way that is not known here: give the pods"
    if close is not None:
        remedy = f"did you mean {f'{known[close]}/… ' if known[close] else ''}{close}?"
    given = " ".join(str(document.body[key]) for key in ("apiVersion", "kind") if document.body.get(key))
    found.faults.append(InvalidDocumentError(document.source, [ConfigError("kind", given, remedy)]))


def _has_template(document: Document) -> bool:
    spec = document.body.get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    inner = template.get("spec") if isinstance(template, Mapping) else None
    return isinstance(inner, Mapping) and "containers" in inner


def _once(documents: Iterable[Document], found: Workloads) -> list[Document]:
    seen: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        key = (document.kind, document.namespace, document.name)
        if key in seen and document.metadata.get("name"):
            error = ConfigError("metadata.name", document.name, f"was given already in {seen[key].source}")
            found.faults.append(InvalidDocumentError(document.source, [error]))
        else:
            seen[key if document.metadata.get("name") else (*key, len(seen))] = document  # type: ignore[index]
    return list(seen.values())


def _mistyped(error: msgspec.ValidationError) -> ConfigError:
    """``Expected `int`, got `str` - at `$.spec.priority```"""
    text, _, place = str(error).partition(" - at ")
    return ConfigError(place.strip("`").removeprefix("$.") or "(document)", None, text.replace("`", ""))


class _Expansion:
    def __init__(self, documents: Iterable[Document], found: Workloads) -> None:
        self._found = found
        self._has_pods = any(each.kind == "Pod" and each.metadata.get("ownerReferences") for each in documents)
        self._priorities = {**_SYSTEM_PRIORITIES, **_priority_classes(documents)}
        self._storage, self._devices = StorageObjects(), DeviceObjects()
        self._rooms = RoomObjects(documents, found.notes)
        self._readers: Mapping[tuple[str, str], Callable[[Document], None]] = {
            ("", "Pod"): self._pod,
            ("apps", "Deployment"): self._replicated,
            ("apps", "ReplicaSet"): self._replicated,
            ("", "ReplicationController"): self._replicated,
            ("apps", "StatefulSet"): self._replicated,
            ("batch", "Job"): self._job,
            ("batch", "CronJob"): self._cronjob,
            ("apps", "DaemonSet"): self._daemonset,
            ("karpenter.sh", "NodePool"): self._pool,
            ("karpenter.sh", "NodeOverlay"): self._overlay,
            ("karpenter.sh", "NodeClaim"): self._claim,
            ("", "Node"): lambda document: found.nodes.append(decode_node(document.stored())),
            ("", "Namespace"): self._namespace,
            ("scheduling.k8s.io", "PodGroup"): self._group,
            ("scheduling.k8s.io", "PriorityClass"): lambda document: None,
            **self._storage.readers(),
            **self._devices.readers(),
            **self._rooms.readers(),
        }
        self.known = {kind: group for group, kind in self._readers}

    def reader(self, document: Document) -> Callable[[Document], None] | None:
        """None for a kind that says nothing to a planner; another group's kind of the same name is one."""
        if document.group is not None:
            return self._readers.get((document.group, document.kind))
        return next((read for (_, kind), read in self._readers.items() if kind == document.kind), None)

    def complete(self) -> None:
        """What depends on all objects together."""
        found = self._found
        room = self._rooms.pods(found.pods)
        found.groups += self._rooms.groups(found.pods)
        found.workloads |= self._rooms.workloads
        found.pods = [self._devices.claimed(pod) for pod in (*found.pods, *room)]
        found.devices = self._devices.state()
        found.storage = self._storage.storage(found.pods, found.notes)

    def _pod(self, document: Document) -> None:
        spec = self._checked(document, document.body.get("spec"), "spec")
        body = {**document.body, "metadata": {**document.metadata, "namespace": document.namespace}, "spec": spec}
        pod = decode_pod(msgspec.json.encode(body))
        if pod.terminal:
            return
        waits = not pod.node_name and not pod.gated
        uid = pod.uid or PodUID(f"Pod/{pod.namespace}/{document.name}")
        pod = replace(pod, uid=uid, name=document.name, unschedulable=pod.unschedulable or waits)
        self._found.pods.append(pod)
        self._found.workloads[uid] = _owner(document) or f"{document.namespace}/{document.name}"

    def _replicated(self, document: Document) -> None:
        replicas = _count(document, "replicas", 1)
        if document.kind == "ReplicaSet" and document.metadata.get("ownerReferences"):
            return  # its Deployment counts
        self._expand(document, replicas)

    def _job(self, document: Document) -> None:
        parallelism = _count(document, "parallelism", 1)
        completions = _count(document, "completions", parallelism)
        suspended = (document.body.get("spec") or {}).get("suspend") is True
        self._expand(document, 0 if suspended else min(parallelism, completions))

    def _cronjob(self, document: Document) -> None:
        """One run of it."""
        job = (document.body.get("spec") or {}).get("jobTemplate")
        if not isinstance(job, Mapping) or not isinstance(job.get("spec"), Mapping):
            raise ConfigError("spec.jobTemplate", job, "a CronJob has a template of its Jobs")
        if document.body["spec"].get("suspend") is not True:
            self._job(replace(document, body={**document.body, "spec": job["spec"]}))

    def _expand(self, document: Document, count: int) -> None:
        if self._has_pods and document.metadata.get("uid"):
            return
        template = _template(document)
        spec = self._checked(document, template.get("spec"), "spec.template.spec")
        kind = _CONTROLLERS.get(document.kind, document.kind)
        owner = {"kind": kind, "name": document.name, "uid": f"{document.kind}/{document.namespace}/{document.name}"}
        metadata = {
            **(template.get("metadata") or {}),
            "name": document.name,
            "namespace": document.namespace,
            "ownerReferences": [{**owner, "controller": True}],
        }
        first = decode_pod(msgspec.json.encode({"metadata": metadata, "spec": spec}))
        for number in range(count):
            uid = PodUID(f"{owner['uid']}-{number}")
            pod = replace(_renamed(first, f"{document.name}-{number}"), uid=uid, unschedulable=not first.gated)
            if document.kind == "StatefulSet":
                pod = self._storage.of_replica(document, pod)
            self._found.pods.append(pod)
            self._found.workloads[uid] = f"{document.namespace}/{document.name}"

    def _daemonset(self, document: Document) -> None:
        template = _template(document)
        spec = self._checked(document, template.get("spec"), "spec.template.spec")
        metadata = {**document.metadata, "namespace": document.namespace}
        body = {"metadata": metadata, "spec": {"template": {**template, "spec": spec}}}
        self._found.daemonsets.append(decode_daemonset(msgspec.json.encode(body)))

    def _pool(self, document: Document) -> None:
        """Whatever its conditions say: offline nobody has looked at its node class."""
        pool = validate(NodePool, document.body, source=document.source)
        if pool.spec.replicas is None:
            self._found.pools.append(replace(pool.to_model(), ready=True))
            return
        self._found.static_pools.append(replace(pool.to_model(), ready=True))
        count = pool.spec.replicas
        self._found.notes.append(
            f"NodePool {pool.name} keeps {count} nodes whatever pods need: they are not in the plan"
        )

    def _claim(self, document: Document) -> None:
        claim = validate(NodeClaim, document.body, source=document.source)
        if not has_ended(claim):
            self._found.claims.append(claim.to_model())

    def _overlay(self, document: Document) -> None:
        overlay = validate(NodeOverlay, document.body, source=document.source)
        self._found.overlays.append(overlay.to_model())

    def _group(self, document: Document) -> None:
        self._found.groups.append(decode_podgroup(document.stored()))

    def _namespace(self, document: Document) -> None:
        named = {"kubernetes.io/metadata.name": document.name}
        self._found.namespaces[document.name] = {**(document.metadata.get("labels") or {}), **named}

    def _checked(self, document: Document, spec: object, path: str) -> dict[str, Any]:
        """The spec with its priority in numbers.

        :raises InvalidDocumentError: something is wrong with it
        """
        faults = podspecs.faults(spec, path)
        if not isinstance(spec, Mapping) or faults:
            raise InvalidDocumentError(document.source, faults)
        name = spec.get("priorityClassName")
        if spec.get("priority") is not None or not name:
            return dict(spec)
        if name not in self._priorities:
            remedy = "there is no such PriorityClass among the objects: give it, too"
            raise InvalidDocumentError(document.source, [ConfigError(f"{path}.priorityClassName", name, remedy)])
        return {**spec, "priority": self._priorities[name]}


def _priority_classes(documents: Iterable[Document]) -> dict[str, int]:
    return {
        each.name: each.body["value"]
        for each in documents
        if each.kind == "PriorityClass" and isinstance(each.body.get("value"), int)
    }


def _renamed(pod: model.Pod, name: str) -> model.Pod:
    """With the claims of its ephemeral volumes, which are called after it."""
    volumes = tuple(replace(each, claim=f"{name}-{each.name}") if each.ephemeral else each for each in pod.volumes)
    return replace(pod, name=name, volumes=volumes)


def _template(document: Document) -> Mapping[str, Any]:
    spec = document.body.get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    if not isinstance(template, Mapping):
        raise ConfigError("spec.template", template, f"a {document.kind} has a template of its pods")
    return template


def _count(document: Document, name: str, default: int) -> int:
    spec = document.body.get("spec")
    value = spec.get(name) if isinstance(spec, Mapping) else None
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"spec.{name}", value, "write a whole number, 0 or more")
    return value


def _owner(document: Document) -> str:
    """``namespace/name`` of the object that a live pod belongs to; a ReplicaSet stands for its Deployment."""
    owners = document.metadata.get("ownerReferences") or ()
    owner = next((each for each in owners if each.get("controller")), None)
    if owner is None:
        return ""
    name = str(owner.get("name") or "")
    suffix = (document.metadata.get("labels") or {}).get("pod-template-hash")
    return f"{document.namespace}/{name.removesuffix(f'-{suffix}') if suffix else name}"
