"""What a pod's volumes ask of its node, told in the terms that the planner knows anyway.

`with_volumes` rewrites a snapshot before it is planned:

- where a volume can be reached (the node affinity of a PersistentVolume, the allowedTopologies of a StorageClass that
  waits for the first consumer) goes into the pod's ``required_terms``;
- a volume that can't be had yet (its claim or class is missing, it is not bound and would be at once, another pod has
  it for itself) is the pod's ``fault``;
- what a node can attach becomes a resource a driver, ``attachable-volumes-csi-DRIVER``: a request of the pod, and room
  on nodes, claims in flight and instance types. What is in use on a node is taken off, a volume that several pods
  share once.

A machine that does not exist yet can attach as many as the nodes of its type that do exist; if there are none, the
resource that its type itself declares; else the limit is not known, and none is assumed.

Limits: several waiting pods that share a volume each count it, so that a node may get fewer of them than it could take.
CSIStorageCapacity is not looked at. Of volumes made by hand only those of classes without a provisioner are matched to
claims, by class and size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Final

from autonodes.core.errors import ConfigError
from autonodes.core.labels import INSTANCE_TYPE, ZONE
from autonodes.core.model import Claim, Node, Pod, Snapshot
from autonodes.core.requirement import Requirement
from autonodes.core.requirements import FIELD_NAME, Requirements
from autonodes.core.resources import Resources, add
from autonodes.core.shapes import in_order
from autonodes.core.storage import PodVolume, Storage, StorageClass, Volume, VolumeClaim

ATTACHABLE: Final = "attachable-volumes-csi-"
"""Prefix of the resource that stands for what a driver can attach to a node; as in the scheduler's older versions."""

UNLIMITED: Final = 10_000
"""Room where no limit is known: more volumes than any machine can attach, and still a number to calculate with."""

ZONE_KEYS: Final = frozenset(
    {
        "topology.ebs.csi.aws.com/zone",
        "topology.gke.io/zone",
        "topology.disk.csi.azure.com/zone",
        "topology.cinder.csi.openstack.org/zone",
    }
)
"""Labels that drivers put on nodes when they get there. They mean the zone, which is known before a node exists."""

Terms = tuple[Requirements, ...]


def is_attachment(resource: str) -> bool:
    """Whether a resource is one that `with_volumes` has made up; no machine reports it, and no claim may ask for it."""
    return resource.startswith(ATTACHABLE)


def with_volumes(snapshot: Snapshot, storage: Storage) -> Snapshot:
    """The same snapshot, with the volumes' demands told as terms, requests and faults."""
    waiting = [pod for pod in snapshot.pods if pod.volumes and not pod.node_name and not pod.terminal]
    if not waiting:
        return snapshot
    needs = _needs(waiting, snapshot, storage)
    limited = {driver for limits in storage.attach_limits.values() for driver in limits}
    drivers = limited & {driver for need in needs.values() for driver in need.attachments}
    folded = _Folding(drivers)
    pods = tuple(folded.pod(pod, needs[pod.uid]) if pod.uid in needs else pod for pod in snapshot.pods)
    if not drivers:
        return replace(snapshot, pods=pods)
    return _with_limits(replace(snapshot, pods=pods), storage, drivers)


@dataclass(frozen=True, slots=True)
class _Needs:
    """Of one pod: where its volumes can be reached, how many of which driver, and why they can't be had."""

    terms: Terms = ()
    attachments: Counter[str] = field(default_factory=Counter)
    fault: str = ""


def _needs(waiting: Sequence[Pod], snapshot: Snapshot, storage: Storage) -> Mapping[str, _Needs]:
    lookup = _Lookup(storage, {node.name for node in snapshot.nodes})
    holders = _Holders(snapshot.pods, storage)
    needs: dict[str, _Needs] = {}
    for pod in in_order(waiting):
        try:
            holders.take(pod)
            needs[pod.uid] = _of_pod(pod, lookup)
        except ConfigError as error:
            needs[pod.uid] = _Needs(fault=str(error))
    return needs


def _of_pod(pod: Pod, lookup: _Lookup) -> _Needs:
    places: dict[str, Terms] = {}
    attachments: dict[str, str] = {}
    for volume in pod.volumes:
        terms, driver, identity = lookup.find(pod, volume)
        if terms:
            places[volume.name] = terms
            _check_together(pod, places)
        if driver:
            attachments[identity] = driver
    return _Needs(_together(tuple(places.values())), Counter(attachments.values()))


def _check_together(pod: Pod, places: Mapping[str, Terms]) -> None:
    """:param places: of the volumes, by their names, the last of which is new
    :raises ConfigError: no node can reach them all and be one that the pod asks for
    """
    together = _together((pod.required_terms or (Requirements(),), *places.values()))
    refused = together[0].contradiction()
    if refused is None:
        return
    *others, (name, terms) = places.items()
    said = {f"volume {other}": listed for other, listed in others}
    said = {"spec.nodeSelector and spec.affinity.nodeAffinity": pod.required_terms, **said}
    against = (f"{where}: {_at(refused.key, listed)}" for where, listed in said.items() if _at(refused.key, listed))
    remedy = f"can be reached by no node that meets the rest ({'; '.join(against)})"
    raise ConfigError(f"spec.volumes[{name}]", _at(refused.key, terms), f"{remedy}: move the volume or the pod")


def _at(key: str, terms: Terms) -> str:
    """What alternatives say of one label; "" if nothing."""
    return " or ".join(dict.fromkeys(str(term[key]) for term in terms if key in term))


@lru_cache(maxsize=1024)
def _together(alternatives: tuple[Terms, ...]) -> Terms:
    """One of each, in all combinations; those that contradict themselves only if there are no others."""
    if not alternatives:
        return ()
    joined = [Requirements().intersection(*chosen) for chosen in product(*alternatives)]
    possible = [each for each in joined if each.contradiction() is None]
    return tuple(dict.fromkeys(possible or joined))


class _Lookup:
    """From a pod's volume to where it can be reached, its driver, and what it is called when volumes are counted."""

    def __init__(self, storage: Storage, nodes: set[str]) -> None:
        self._storage, self._nodes = storage, nodes
        self._default = next((each for _, each in sorted(storage.classes.items()) if each.default), None)
        self._free: dict[str, list[Volume]] = defaultdict(list)
        for _, volume in sorted(storage.volumes.items()):
            if volume.free and not volume.leaving:
                self._free[volume.storage_class].append(volume)

    def find(self, pod: Pod, volume: PodVolume) -> tuple[Terms, str, str]:
        """:raises ConfigError: it can't be had; for the pod's fault"""
        path = f"spec.volumes[{volume.name}]"
        claim = self._claim(pod, volume, path)
        if claim.volume:
            bound = self._volume(claim, path)
            return _in_zones(bound.terms), bound.driver, bound.name
        return self._unbound(claim, path)

    def _claim(self, pod: Pod, volume: PodVolume, path: str) -> VolumeClaim:
        claim = self._storage.claims.get(f"{pod.namespace}/{volume.claim}")
        if claim is None and volume.ephemeral:
            return VolumeClaim(namespace=pod.namespace, name=volume.claim, storage_class=volume.storage_class)
        if claim is None:
            remedy = f"there is no PersistentVolumeClaim of this name in namespace {pod.namespace}: create it"
            raise ConfigError(path, volume.claim, remedy)
        if volume.ephemeral and claim.owner != pod.uid:
            remedy = "a PersistentVolumeClaim of this name exists that was not made for this pod: delete one of them"
            raise ConfigError(path, volume.claim, remedy)
        if claim.leaving:
            raise ConfigError(path, volume.claim, "this PersistentVolumeClaim is being deleted: create it again")
        return claim

    def _volume(self, claim: VolumeClaim, path: str) -> Volume:
        volume = self._storage.volumes.get(claim.volume)
        if volume is None or claim.lost:
            remedy = f"it is bound to PersistentVolume {claim.volume}, which does not exist: restore it"
            raise ConfigError(path, claim.name, remedy)
        if volume.leaving:
            raise ConfigError(path, claim.name, f"its PersistentVolume {volume.name} is being deleted")
        if not claim.bound:
            raise ConfigError(path, claim.name, f"its binding to PersistentVolume {volume.name} is not complete yet")
        return volume

    def _unbound(self, claim: VolumeClaim, path: str) -> tuple[Terms, str, str]:
        storage_class = self._class(claim, path)
        if storage_class.immediate:
            remedy = (
                f"the PersistentVolumeClaim is not bound yet, and StorageClass {storage_class.name} binds before "
                "scheduling (Immediate): the pod is planned when it is bound"
            )
            raise ConfigError(path, claim.name, remedy)
        if claim.selected_node in self._nodes:
            here = Requirements([Requirement.of(FIELD_NAME, "In", [claim.selected_node])])
            return (here,), storage_class.driver, claim.key
        if storage_class.provisions:
            return _in_zones(storage_class.terms), storage_class.driver, claim.key
        return self._made_by_hand(claim, storage_class, path)

    def _class(self, claim: VolumeClaim, path: str) -> StorageClass:
        if claim.storage_class is None and self._default is not None:
            return self._default
        if not claim.storage_class:
            remedy = "the PersistentVolumeClaim is not bound and has no StorageClass: name one, or bind it"
            raise ConfigError(path, claim.name, remedy)
        found = self._storage.classes.get(claim.storage_class)
        if found is None:
            remedy = f"StorageClass {claim.storage_class} of the PersistentVolumeClaim does not exist: create it"
            raise ConfigError(path, claim.name, remedy)
        return found

    def _made_by_hand(self, claim: VolumeClaim, storage_class: StorageClass, path: str) -> tuple[Terms, str, str]:
        will_do = [each for each in self._free[storage_class.name] if each.storage >= claim.storage]
        if not will_do:
            remedy = f"no PersistentVolume of StorageClass {storage_class.name} is free and large enough: add one"
            raise ConfigError(path, claim.name, remedy)
        if any(not volume.terms for volume in will_do):
            return (), "", claim.key
        return _in_zones(tuple(dict.fromkeys(term for volume in will_do for term in volume.terms))), "", claim.key


class _Holders:
    """Which pod has a claim for itself (ReadWriteOncePod): one that runs, or the first of those that wait."""

    def __init__(self, pods: Iterable[Pod], storage: Storage) -> None:
        self._alone = {key for key, claim in storage.claims.items() if claim.once_per_pod}
        self._holders: dict[str, Pod] = {}
        if self._alone:
            for pod in pods:
                if pod.node_name and not pod.terminal:
                    self._holders.update(dict.fromkeys(self._claims(pod), pod))

    def take(self, pod: Pod) -> None:
        """:raises ConfigError: another pod has it. Not for a pod that kube-scheduler is making room for."""
        for volume in pod.volumes:
            holder = self._holders.get(f"{pod.namespace}/{volume.claim}")
            if holder is not None and holder.uid != pod.uid and not pod.nominated_node:
                remedy = f"the PersistentVolumeClaim is ReadWriteOncePod, and pod {holder.key} has it"
                raise ConfigError(f"spec.volumes[{volume.name}]", volume.claim, remedy)
        for key in self._claims(pod):
            self._holders.setdefault(key, pod)

    def _claims(self, pod: Pod) -> list[str]:
        return [key for volume in pod.volumes if (key := f"{pod.namespace}/{volume.claim}") in self._alone]


class _Folding:
    """Rewrites pods; equal parts stay shared, as the planner's grouping likes it."""

    def __init__(self, drivers: set[str]) -> None:
        self._drivers = drivers
        self._terms: dict[tuple[Terms, Terms], Terms] = {}
        self._requests: dict[tuple[int, frozenset[tuple[str, int]]], Resources] = {}

    def pod(self, pod: Pod, needs: _Needs) -> Pod:
        if needs.fault:
            return replace(pod, fault=pod.fault or needs.fault)
        return replace(pod, required_terms=self._placed(pod, needs), requests=self._asking(pod, needs))

    def _placed(self, pod: Pod, needs: _Needs) -> Terms:
        if not needs.terms:
            return pod.required_terms
        key = (pod.required_terms, needs.terms)
        if key not in self._terms:
            self._terms[key] = _together((pod.required_terms or (Requirements(),), needs.terms))
        return self._terms[key]

    def _asking(self, pod: Pod, needs: _Needs) -> Resources:
        attachments = frozenset((d, count) for d, count in needs.attachments.items() if d in self._drivers)
        if not attachments:
            return pod.requests
        key = (id(pod.requests), attachments)
        if key not in self._requests:
            asked = {ATTACHABLE + driver: count for driver, count in sorted(attachments)}
            self._requests[key] = add(pod.requests, asked)
        return self._requests[key]


def _with_limits(snapshot: Snapshot, storage: Storage, drivers: set[str]) -> Snapshot:
    used = _in_use(snapshot.pods, storage)
    of_type = _limits_by_type(snapshot.nodes, storage)

    def left_on(node: Node) -> Resources:
        of_its_type = of_type.get(node.labels.get(INSTANCE_TYPE, ""), {})
        limits = {**of_its_type, **storage.attach_limits.get(node.name, {})}
        return {ATTACHABLE + each: limits.get(each, UNLIMITED) - used[node.name, each] for each in sorted(drivers)}

    def new(instance_type: str, declared: Resources) -> Resources:
        limits = of_type.get(instance_type, {})
        names = {ATTACHABLE + each: limits.get(each, UNLIMITED) for each in sorted(drivers)}
        return {**names, **declared} if not limits else {**declared, **names}

    return replace(
        snapshot,
        nodes=tuple(replace(node, allocatable={**node.allocatable, **left_on(node)}) for node in snapshot.nodes),
        claims=tuple(_of_claim(claim, new) for claim in snapshot.claims),
        instance_types={
            pool: tuple(replace(each, capacity=new(each.name, each.capacity)) for each in types)
            for pool, types in snapshot.instance_types.items()
        },
    )


def _of_claim(claim: Claim, new: Callable[[str, Resources], Resources]) -> Claim:
    named = claim.labels.get(INSTANCE_TYPE, "")
    return replace(claim, allocatable=new(named, claim.allocatable))


def _in_use(pods: Iterable[Pod], storage: Storage) -> Counter[tuple[str, str]]:
    """Volumes on each node, by node and driver; each once, however many pods share it."""
    seen: set[tuple[str, str]] = set()
    used: Counter[tuple[str, str]] = Counter()
    for pod in pods:
        if pod.node_name and pod.volumes and not pod.terminal:
            for volume in pod.volumes:
                driver, identity = _attached(storage, f"{pod.namespace}/{volume.claim}")
                if driver and (pod.node_name, identity) not in seen:
                    seen.add((pod.node_name, identity))
                    used[pod.node_name, driver] += 1
    return used


def _attached(storage: Storage, key: str) -> tuple[str, str]:
    """Driver and identity of a running pod's volume; no driver if that can't be known (any more)."""
    claim = storage.claims.get(key)
    if claim is None:
        return "", key
    if claim.volume:
        volume = storage.volumes.get(claim.volume)
        return (volume.driver if volume else ""), claim.volume
    storage_class = storage.classes.get(claim.storage_class or "")
    return (storage_class.driver if storage_class else ""), key


def _limits_by_type(nodes: Iterable[Node], storage: Storage) -> Mapping[str, Mapping[str, int]]:
    """Instance type → driver → the least that a node of it can attach."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for node in nodes:
        limits = found[node.labels.get(INSTANCE_TYPE, "")]
        for driver, count in storage.attach_limits.get(node.name, {}).items():
            limits[driver] = min(count, limits.get(driver, count))
    found.pop("", None)
    return found


@lru_cache(maxsize=4096)
def _in_zones(terms: Terms) -> Terms:
    """With the drivers' own names for the zone replaced by the well-known one."""
    return tuple(
        Requirements(
            replace(requirement, key=ZONE) if key in ZONE_KEYS else requirement for key, requirement in term.items()
        )
        for term in terms
    )
