"""Device claims, told to the planner in a language that it speaks: as resources that are counted.

Before a snapshot is planned, what its pods' claims ask for and what nodes, claims in flight and instance types have
becomes numbers (`devicesets`). Devices that are in use are known from the claims' allocations. Afterwards the plan is
freed of what was made up.

Pods that share a claim which has no devices yet are planned as one pod (`together`), for its devices are on one node. A
claim that has its devices ties its pods to their node, and asks for nothing more.

A node that shows no devices yet counts as its instance type declares, for a while: drivers publish late. Machines with
devices are not for pods that ask for none.

Limits, each told as a fault of the pod and never answered by a purchase: requests for all devices, with administrator
access, for the first of several alternatives, for a part of a device's capacity, with constraints between devices; and
what comes from devices that are cut from others, tainted, or on no single node. kube-scheduler deals out devices pod by
pod, so that a modest pod may take what a demanding one would have needed; that one is then planned anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from autonodes.core.devices import Device, DeviceClass, DeviceRequest, DeviceState, ResourceClaim
from autonodes.core.devicesets import PREFIX, DeviceSets, Selector
from autonodes.core.labels import INSTANCE_TYPE, NODE_POOL
from autonodes.core.model import InstanceType, Node, Plan, Pod, PodUID, Snapshot
from autonodes.core.requirements import Requirements
from autonodes.core.resources import Resources, add
from autonodes.core.shapes import is_planned
from autonodes.core.together import Together, merge

PUBLISHED_AFTER: Final = 900.0
"""Seconds of a node's life within which its drivers should have published its devices."""


@dataclass(frozen=True)
class Translated:
    """A snapshot in which neither pods nor machines have to do with devices, and the way back."""

    snapshot: Snapshot
    merged: tuple[Together, ...] = ()

    def back(self, plan: Plan) -> Plan:
        """A plan of that snapshot as one of the original."""
        for together in self.merged:
            plan = together.split(plan)
        return replace(plan, purchases=tuple(replace(each, requests=_real(each.requests)) for each in plan.purchases))


def plan_with_devices(snapshot: Snapshot, plan_pods: Callable[[Snapshot], Plan]) -> Plan:
    """A plan in which the pods' claims find their devices.

    :param plan_pods: knows resources only
    """
    translated = translate(snapshot)
    plan = plan_pods(translated.snapshot)
    return plan if translated.snapshot is snapshot else translated.back(plan)


def place_with_devices(
    snapshot: Snapshot, place_pods: Callable[[Snapshot], Mapping[PodUID, str]]
) -> Mapping[PodUID, str]:
    """Where the pods go that need no purchase."""
    translated = translate(snapshot)
    return translated.back(Plan(placements=place_pods(translated.snapshot))).placements


def translate(snapshot: Snapshot) -> Translated:
    """The snapshot itself if it has nothing to do with devices."""
    waiting = [pod for pod in snapshot.pods if pod.resource_claims and is_planned(pod) and not pod.fault]
    declared = any(each.devices for types in snapshot.instance_types.values() for each in types)
    if not waiting and not declared:
        return Translated(snapshot)
    merged, asking = _one_node_each(map(_Claims(snapshot.devices).asked_by, waiting))
    machines = _Machines(snapshot)
    sets = DeviceSets((selector for each in asking for selector in each.wanted), machines.holders())
    done = {pod.uid for pod in waiting}
    pods = (*(pod for pod in snapshot.pods if pod.uid not in done), *(each.translated(sets) for each in asking))
    return Translated(replace(machines.translated(sets), pods=pods), merged)


@dataclass(frozen=True)
class _Asking:
    """A pod, and what it asks for.

    :param claims: those without devices yet, by ``namespace/name``
    """

    pod: Pod
    claims: Mapping[str, Mapping[Selector, int]]

    @property
    def wanted(self) -> Mapping[Selector, int]:
        total: Counter[Selector] = Counter()
        for wanted in self.claims.values():
            total.update(wanted)
        return total

    def translated(self, sets: DeviceSets) -> Pod:
        fault = self.pod.fault or next((text for selector in self.wanted if (text := _unmet(selector, sets))), "")
        requests = self.pod.requests if fault else add(self.pod.requests, sets.demand(self.wanted))
        return replace(self.pod, requests=requests, resource_claims=(), fault=fault)


class _Claims:
    """What the claims of a cluster ask for, and where those are that have their devices."""

    def __init__(self, state: DeviceState) -> None:
        self._claims = {claim.key: claim for claim in state.claims}
        self._classes = {each.name: each for each in state.classes}

    def asked_by(self, pod: Pod) -> _Asking:
        terms: tuple[Requirements, ...] = pod.required_terms
        open_claims: dict[str, Mapping[Selector, int]] = {}
        for name in pod.resource_claims:
            claim = self._claims.get(f"{pod.namespace}/{name}")
            fault = self._fault(claim) or (f"there is no ResourceClaim {name!r} (yet)" if claim is None else "")
            if claim is None or fault:
                return _Asking(replace(pod, fault=f"spec.resourceClaims: {fault}"), {})
            if claim.allocated:
                terms = _within(terms, claim.node_terms)
            else:
                open_claims[claim.key] = self._wanted(claim)
        return _Asking(replace(pod, required_terms=terms), open_claims)

    def _wanted(self, claim: ResourceClaim) -> Mapping[Selector, int]:
        wanted: Counter[Selector] = Counter()
        for request in claim.requests:
            wanted[self._selector(request, self._classes[request.device_class])] += request.count
        return wanted

    def _fault(self, claim: ResourceClaim | None) -> str:
        from autonodes.core.deviceselector import SelectorError, check  # not before it is needed: it takes 15 MB

        if claim is None or claim.allocated:
            return ""
        if claim.fault:
            return f"ResourceClaim {claim.name}: {claim.fault}"
        for request in claim.requests:
            where = f"ResourceClaim {claim.name}: request {request.name!r}"
            device_class = self._classes.get(request.device_class)
            if device_class is None:
                return f"{where}: there is no DeviceClass {request.device_class!r}"
            try:
                for expression in self._selector(request, device_class)[1:]:
                    check(expression)
            except SelectorError as error:
                return f"{where}: {error}"
        return ""

    @staticmethod
    def _selector(request: DeviceRequest, device_class: DeviceClass) -> Selector:
        return (device_class.name, *device_class.selectors, *request.selectors)


class _Machines:
    """The devices of nodes, claims in flight and instance types.

    :ivar free: by node, those that no claim has; a node whose drivers have published nothing is not in it
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._declared = {
            (pool, each.name): each.devices for pool, types in snapshot.instance_types.items() for each in types
        }
        self.free = _free(snapshot.devices)

    def holders(self) -> Iterable[Sequence[Device]]:
        return (*self.free.values(), *self._declared.values())

    def translated(self, sets: DeviceSets) -> Snapshot:
        snapshot = self._snapshot
        return replace(
            snapshot,
            nodes=tuple(self._node(node, sets) for node in snapshot.nodes),
            claims=tuple(
                replace(each, allocatable={**each.allocatable, **sets.room(self._of(each.pool, each.labels))})
                for each in snapshot.claims
            ),
            instance_types={
                pool: tuple(_with_devices(each, sets) for each in types)
                for pool, types in snapshot.instance_types.items()
            },
        )

    def _node(self, node: Node, sets: DeviceSets) -> Node:
        devices = self.free.get(node.name)
        if devices is None and self._snapshot.now - node.created_at < PUBLISHED_AFTER:
            devices = self._of(node.labels.get(NODE_POOL, ""), node.labels)
        room = sets.room(devices or ())
        return replace(node, allocatable={**node.allocatable, **room}) if room else node

    def _of(self, pool: str, labels: Mapping[str, str]) -> Sequence[Device]:
        return self._declared.get((pool, labels.get(INSTANCE_TYPE, "")), ())


def _free(state: DeviceState) -> Mapping[str, Sequence[Device]]:
    newest: dict[tuple[str, str], int] = {}
    for each in state.slices:
        newest[each.driver, each.pool] = max(each.generation, newest.get((each.driver, each.pool), 0))
    taken = {device for claim in state.claims for device in claim.devices}
    free: dict[str, list[Device]] = defaultdict(list)
    for each in state.slices:
        if each.node_name and each.generation == newest[each.driver, each.pool]:
            free[each.node_name] += [device for device in each.devices if device.key not in taken]
    return free


def _with_devices(instance_type: InstanceType, sets: DeviceSets) -> InstanceType:
    room = sets.room(instance_type.devices)
    return replace(instance_type, capacity={**instance_type.capacity, **room}) if room else instance_type


def _one_node_each(asking: Iterable[_Asking]) -> tuple[tuple[Together, ...], list[_Asking]]:
    """Pods that share claims as one pod each, and what is to be planned then."""
    clusters: list[list[_Asking]] = []
    for each in asking:
        mine = [cluster for cluster in clusters if any(each.claims.keys() & other.claims.keys() for other in cluster)]
        clusters = [cluster for cluster in clusters if cluster not in mine]
        clusters.append([*(other for cluster in mine for other in cluster), each])
    merged, planned = [], []
    for cluster in clusters:
        if len(cluster) > 1:
            claims = {key: wanted for each in cluster for key, wanted in each.claims.items()}
            together = merge([each.pod for each in cluster], f"pods that share ResourceClaim {min(claims)}")
            merged.append(together)
            planned.append(_Asking(together.pod, claims))
        else:
            planned += cluster
    return tuple(merged), planned


def _within(terms: tuple[Requirements, ...], nodes: tuple[Requirements, ...]) -> tuple[Requirements, ...]:
    if not nodes:
        return terms
    return tuple(dict.fromkeys(one & other for one, other in product(terms or (Requirements(),), nodes)))


def _unmet(selector: Selector, sets: DeviceSets) -> str:
    fault = sets.fault(selector)
    device_class, *expressions = selector
    return f"spec.resourceClaims: device class {device_class!r} ({' && '.join(expressions)}): {fault}" if fault else ""


def _real(requests: Resources) -> Resources:
    return {name: amount for name, amount in requests.items() if not name.startswith(PREFIX)}
