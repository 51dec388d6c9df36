"""ProvisioningRequests (``autoscaling.x-k8s.io/v1``): room for a whole set of pods is asked for before they exist.

Kueue makes one for a workload and admits it when it is provisioned. Each is resolved to the pods of its pod sets, and
the planner sees them as one group, all or nothing: ``best-effort-atomic-scale-up`` buys for it, ``check-capacity``
(expendable pods, to the planner) only looks for room. When each pod has a place on a node that has come up, the request
is ``Provisioned``, and the room is kept for ten minutes; a pod with the annotation
``autoscaling.x-k8s.io/consume-provisioning-request: NAME`` takes the place of one of them. After that it is
``BookingExpired``; if a node goes before, ``CapacityRevoked``.

The kind is not this project's: where the cluster does not have it, it is looked for once a minute. Requests of other
classes are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from autonodes.api.conditions import Condition, Verdict, find_condition, is_true, set_conditions, to_json
from autonodes.api.objects import timestamp
from autonodes.controllers.roomseeking import RoomSeeking
from autonodes.core.clock import Clock
from autonodes.core.errors import ConfigError
from autonodes.core.labels import EXPENDABLE, INITIALIZED, NODE_POOL, REQUIRED_TOPOLOGY
from autonodes.core.model import Node, Plan, Pod, PodGroup, PodUID
from autonodes.kube.cache import Cache, Change
from autonodes.kube.client import KubeClient, Object
from autonodes.kube.decoding import decode_pod
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import PODTEMPLATES, PROVISIONINGREQUESTS

CHECK: Final = "check-capacity.autoscaling.x-k8s.io"
ATOMIC: Final = "best-effort-atomic-scale-up.autoscaling.x-k8s.io"

CONSUME: Final = "autoscaling.x-k8s.io/consume-provisioning-request"
"""Pod annotation: the name of the request of its namespace whose room it uses."""

BOOKED: Final = 600.0
"""Seconds for which room is kept that nobody uses; Cluster Autoscaler's number, which Kueue counts on."""

_KUEUE_REQUIRED_TOPOLOGY: Final = "kueue.x-k8s.io/podset-required-topology"
"""Annotation of a pod template: a node label of which all pods of the set must see one value."""

_ACCEPTED: Final = "Accepted"
_PROVISIONED: Final = "Provisioned"
_OVER: Final = ("Failed", "BookingExpired", "CapacityRevoked")

_RESYNC: Final = 15.0


@dataclass(frozen=True)
class _Request:
    """:param booked: whether it has had its room"""

    pods: tuple[Pod, ...]
    booked: bool


class ProvisioningRequests(RoomSeeking[Object]):
    """Also for somebody who only looks: see `look_once`."""

    def __init__(self, client: KubeClient, pods: Cache[Pod], clock: Clock) -> None:
        cache: Cache[Object] = Cache(client, PROVISIONINGREQUESTS, msgspec.json.decode, clock)
        super().__init__(client, cache, clock, resync=_RESYNC)
        cache.subscribe(self._changed)
        self._pods = pods
        self._requests: dict[str, _Request] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._revoked: set[str] = set()

    def pods(self) -> tuple[Pod, ...]:
        """Those that room is wanted for, less those that exist by now."""
        listed = {key: request.pods for key, request in self._requests.items()}
        return unmet(listed, self._pods.items.values()) if listed else ()

    def groups(self) -> tuple[PodGroup, ...]:
        """The pods of each request are a group of which none may be missing."""
        return groups_of(self.pods())

    def planned(self, plan: Plan, nodes: Mapping[str, Node]) -> None:
        """Tell the requests what a plan made of their pods."""
        fates: dict[str, Counter[str]] = {}
        for pod in self.pods():
            node = nodes.get(plan.placements.get(pod.uid, ""))
            fate = "refused" if pod.uid in plan.unplaced else "there" if node and _is_up(node) else "coming"
            fates.setdefault(_key(pod), Counter())[fate] += 1
        for key, counts in fates.items():
            self._judge(key, counts)

    def _judge(self, key: str, counts: Mapping[str, int]) -> None:
        if self._requests[key].booked:
            if counts.get("refused"):
                self._revoked.add(key)
                self._queue.add(key)
            return
        verdict = _verdict(counts)
        if self._verdicts.get(key) != verdict:
            self._verdicts[key] = verdict
            self._queue.add(key)

    async def look_once(self) -> None:
        """Find out about all of them and write nothing; for somebody who does not lead.

        :raises ApiError: it can't be known
        """
        for body in await self._client.list(PROVISIONINGREQUESTS) if await self._kind.is_served() else []:
            found = await self._pods_of(body) if is_open(body) else ()
            if not isinstance(found, str):
                key = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
                self._keep(key, _Request(found, is_true(_conditions(body), _PROVISIONED)))

    def _changed(self, change: Change[Object]) -> None:
        self._queue.add(change.key)

    async def _look(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        try:
            body = await self._client.get(PROVISIONINGREQUESTS, name, namespace)
        except NotFoundError:
            self._queue.forget(key)
            self._forget(key)
            return
        if not is_open(body):
            self._forget(key)
            return
        conditions = _conditions(body)
        found = await self._pods_of(body)
        if isinstance(found, str):
            self._forget(key)
            await self._show(body, conditions, {"Failed": ("True", "FailedToResolve", found)})
            return
        await self._show(body, conditions, self._outcome(key, conditions))
        self._keep(key, _Request(found, is_true(conditions, _PROVISIONED)))

    def _outcome(self, key: str, conditions: tuple[Condition, ...]) -> Mapping[str, Verdict]:
        booked = find_condition(conditions, _PROVISIONED)
        if booked is None or booked.status != "True":
            accepted: dict[str, Verdict] = {_ACCEPTED: ("True", "Accepted", "the request will be planned for")}
            return accepted | ({_PROVISIONED: self._verdicts[key]} if key in self._verdicts else {})
        if key in self._revoked:
            return {"CapacityRevoked": ("True", "CapacityRevoked", "a node that was there for it is gone")}
        if self._clock.now() - (timestamp(booked.last_transition_time) or 0.0) >= BOOKED:
            text = f"the room was kept for {BOOKED:.0f} s and is free now"
            return {"BookingExpired": ("True", "BookingExpired", text)}
        return {}

    def _forget(self, key: str) -> None:
        self._seen.add(key)
        self._verdicts.pop(key, None)
        self._revoked.discard(key)
        if self._requests.pop(key, None) is not None:
            self._tell()

    def _keep(self, key: str, request: _Request) -> None:
        self._seen.add(key)
        if self._requests.get(key) != request:
            self._requests[key] = request
            self._tell()

    async def _pods_of(self, body: Object) -> tuple[Pod, ...] | str:
        """Its pods, or why there are none.

        :raises ApiError: it can't be known
        """
        metadata, pods = body["metadata"], list[Pod]()
        for number, pod_set in enumerate(body["spec"]["podSets"]):
            name = pod_set["podTemplateRef"]["name"]
            try:
                template = (await self._client.get(PODTEMPLATES, name, metadata["namespace"]))["template"]
                pods += pods_of_set(body, number, template, pod_set["count"])
            except NotFoundError:
                return f"spec.podSets[{number}].podTemplateRef.name: there is no PodTemplate {name!r}"
            except (ConfigError, msgspec.ValidationError) as error:
                return f"PodTemplate {name}: {error}"
        domains = sorted({pod.annotations.get(REQUIRED_TOPOLOGY, "none") for pod in pods})
        if len(domains) > 1:
            return f"spec.podSets: their templates require different topologies ({', '.join(domains)}): give all one"
        return tuple(pods)

    async def _show(self, body: Object, before: tuple[Condition, ...], verdicts: Mapping[str, Verdict]) -> None:
        now, metadata = self._clock.now(), body["metadata"]
        conditions = set_conditions(before, verdicts, now=now, observed_generation=metadata.get("generation"))
        if conditions == before:
            return
        tied = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        await self._client.merge_patch(
            PROVISIONINGREQUESTS,
            metadata["name"],
            {"metadata": tied, "status": {"conditions": to_json(conditions)}},
            metadata["namespace"],
            subresource="status",
        )


def unmet(requests: Mapping[str, Sequence[Pod]], others: Iterable[Pod]) -> tuple[Pod, ...]:
    """The pods of requests, less those whose place another pod takes that exists by now.

    :param requests: by ``namespace/name``
    """
    used = Counter(
        f"{pod.namespace}/{name}" for pod in others if not pod.terminal and (name := pod.annotations.get(CONSUME))
    )
    return tuple(pod for key in sorted(requests) for pod in requests[key][used[key] :])


def groups_of(pods: Iterable[Pod]) -> tuple[PodGroup, ...]:
    """The groups that the pods of requests are in, none of which may be missing."""
    sizes = Counter((pod.namespace, pod.group, pod.annotations.get(REQUIRED_TOPOLOGY, "")) for pod in pods)
    return tuple(
        PodGroup(namespace=space, name=name, min_count=size, topology_key=topology)
        for (space, name, topology), size in sizes.items()
    )


def pods_of_set(body: Object, number: int, template: Mapping[str, Any], count: int) -> list[Pod]:
    """The pods of a request's pod set, always the same ones. Their volumes don't count: nobody makes their claims yet.

    :param number: the pod set's place
    :param template: of the PodTemplate that it names
    :raises ConfigError: the template makes no sense
    :raises msgspec.ValidationError: likewise
    """
    request = body["metadata"]
    metadata = {**(template.get("metadata") or {}), "name": request["name"], "namespace": request["namespace"]}
    shape = decode_pod(msgspec.json.encode({"metadata": metadata, "spec": template["spec"]}))
    added = {EXPENDABLE: "true"} if body["spec"]["provisioningClassName"] == CHECK else {}
    if topology := _required_topology(metadata.get("annotations") or {}):
        added[REQUIRED_TOPOLOGY] = topology
    one = replace(
        shape,
        volumes=(),
        resource_claims=(),
        annotations={**shape.annotations, **added},
        owner_kind=PROVISIONINGREQUESTS.kind,
        owner_uid=request["uid"],
        group=f"provisioning-request/{request['name']}",
        unschedulable=True,
        gated=False,
    )
    stem = f"{request['name']}-{number}"
    uid = f"{request['uid']}/{number}"
    return [replace(one, uid=PodUID(f"{uid}/{each}"), name=f"{stem}-{each}") for each in range(count)]


def _required_topology(annotations: Mapping[str, str]) -> str:
    """Ours, or what Kueue's users write into the template of a job's pods."""
    return annotations.get(REQUIRED_TOPOLOGY) or annotations.get(_KUEUE_REQUIRED_TOPOLOGY, "")


def _conditions(body: Object) -> tuple[Condition, ...]:
    return tuple(map(Condition.model_validate, body.get("status", {}).get("conditions") or ()))


def is_open(body: Object) -> bool:
    """Whether a request is one of ours, and not over."""
    known = body["spec"]["provisioningClassName"] in (CHECK, ATOMIC)
    return known and not any(is_true(_conditions(body), type_) for type_ in _OVER)


def _key(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.group.partition('/')[2]}"


def _is_up(node: Node) -> bool:
    return node.ready and (NODE_POOL not in node.labels or node.labels.get(INITIALIZED) == "true")


def _verdict(counts: Mapping[str, int]) -> Verdict:
    refused, coming, there = (counts.get(fate, 0) for fate in ("refused", "coming", "there"))
    total = refused + coming + there
    if refused:
        return "False", "CapacityIsNotFound", f"there is no room for all of its {total} pods; it is looked for again"
    if coming:
        return "False", "CapacityIsProvisioned", f"there is room for {there} of {total} pods; nodes for others come up"
    return "True", "CapacityIsFound", f"there is room for all of its {total} pods"
