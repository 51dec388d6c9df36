"""What ``autonodes plan`` plans for: manifests, traces and recorded snapshots, put together into one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autonodes.cli.catalogs import Catalogue
from autonodes.cli.documents import Document, File, documents, files
from autonodes.cli.traces import is_trace, read_trace
from autonodes.cli.workloads import Workloads, expand
from autonodes.core.devices import DeviceState
from autonodes.core.displacement import with_displaced
from autonodes.core.errors import AutonodesError, ConfigError, InvalidDocumentError
from autonodes.core.labels import CAPACITY_ON_DEMAND, CAPACITY_TYPE
from autonodes.core.model import InstanceType, NodePool, Pod, PodUID, Snapshot
from autonodes.core.overlays import contradictions, overlaid
from autonodes.core.recording import KIND, Recording, decode
from autonodes.core.requirements import Requirements
from autonodes.core.sharing import shared
from autonodes.core.volumes import with_volumes

DEFAULT_POOL = "default"


@dataclass
class Inputs:
    """:param workloads: pod → the name of what it was made from
    :param faults: what was left out, and why
    :param passed_over: kinds that planning has no use for
    :param notes: what was taken to be so although nothing says it
    """

    snapshot: Snapshot
    workloads: Mapping[PodUID, str]
    faults: list[AutonodesError] = field(default_factory=list)
    passed_over: Sequence[str] = ()
    notes: Sequence[str] = ()


def read(paths: Sequence[str], catalogue: Catalogue | None, fallback: Catalogue) -> Inputs:
    """:param catalogue: what all pools sell; None leaves a recording its own
    :param fallback: for pools of which nothing else says what they sell
    :raises ConfigError: a file that is not there, or two recordings
    """
    faults: list[AutonodesError] = []
    recordings: list[Recording] = []
    found: list[Document] = []
    pods: list[Pod] = []
    workloads: dict[PodUID, str] = {}
    for file in files(paths):
        if is_trace(file):
            trace = read_trace(file)
            pods += trace.pods
            workloads |= trace.workloads
            faults += trace.faults
        elif is_recording(file):
            recordings.append(decode(file.content, source=file.source))
        else:
            found += documents(file, faults)
    if len(recordings) > 1:
        raise ConfigError("-f", len(recordings), "there are several recorded snapshots: give one")
    read_in = expand(found)
    read_in.pods += pods
    base = recordings[0].snapshot if recordings else _EMPTY
    snapshot = _merged(base, read_in, catalogue, fallback)
    names = {pod.uid: workload_of(pod) for pod in snapshot.pods}
    return Inputs(
        snapshot=snapshot,
        workloads={**names, **read_in.workloads, **workloads},
        faults=[*faults, *read_in.faults],
        passed_over=sorted(read_in.passed_over),
        notes=read_in.notes,
    )


def is_recording(file: File) -> bool:
    return KIND.encode() in file.content[:200]


def workload_of(pod: Pod) -> str:
    """What a recorded pod belongs to, by its labels, else by its name without the last part."""
    labels = pod.labels
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or labels.get("k8s-app")
    owned = pod.name.rpartition("-")[0] if pod.owner_uid else pod.name
    return f"{pod.namespace}/{name or owned or pod.name}"


_EMPTY = Snapshot(now=0.0, pods=(), nodes=(), claims=(), pools=(), instance_types={})


def _merged(base: Snapshot, found: Workloads, catalogue: Catalogue | None, fallback: Catalogue) -> Snapshot:
    """What is given beside a recording comes on top of it: "what if these came, too"."""
    pools = tuple(found.pools) or base.pools or (default_pool((catalogue or fallback).default_pool),)
    sold: dict[str, tuple[InstanceType, ...]] = {}
    for pool in pools:
        try:
            sold[pool.name] = _sold(pool, base, catalogue, fallback)
        except ConfigError as error:
            found.faults.append(InvalidDocumentError(f"NodePool/{pool.name}", [error]))
    pools = tuple(pool for pool in pools if pool.name in sold)
    merged = replace(
        base,
        pods=(*map(_settled, base.pods), *found.pods),
        nodes=(*base.nodes, *found.nodes),
        claims=(*base.claims, *found.claims),
        daemonsets=(*base.daemonsets, *found.daemonsets),
        pools=pools,
        instance_types=_corrected(pools, sold, found),
        groups=(*base.groups, *found.groups),
        devices=DeviceState(
            classes=(*base.devices.classes, *found.devices.classes),
            claims=(*base.devices.claims, *found.devices.claims),
            slices=(*base.devices.slices, *found.devices.slices),
        ),
        namespaces={**base.namespaces, **found.namespaces},
        static_pools=(*base.static_pools, *found.static_pools),
    )
    return with_volumes(with_displaced(merged), found.storage)


def _settled(pod: Pod) -> Pod:
    """A recorded pod, whose volumes are in its terms and requests already."""
    return pod if pod.node_name else replace(pod, volumes=())


def _corrected(
    pools: Sequence[NodePool], sold: Mapping[str, tuple[InstanceType, ...]], found: Workloads
) -> dict[str, tuple[InstanceType, ...]]:
    """What pools sell, by the NodeOverlays that contradict no other."""
    refused = contradictions(found.overlays, pools, sold)
    for name, rival in sorted(refused.items()):
        error = ConfigError("spec.weight", None, f"{rival} has the same weight and changes the same: give one more")
        found.faults.append(InvalidDocumentError(f"NodeOverlay/{name}", [error]))
    holding = [overlay for overlay in found.overlays if overlay.name not in refused]
    return {pool.name: overlaid(holding, pool, sold[pool.name]) if holding else sold[pool.name] for pool in pools}


def default_pool(requirements: Requirements) -> NodePool:
    """On demand, without taints or limits."""
    on_demand = Requirements.from_labels({CAPACITY_TYPE: CAPACITY_ON_DEMAND})
    return NodePool(name=DEFAULT_POOL, requirements=requirements & on_demand)


def _sold(pool: NodePool, base: Snapshot, catalogue: Catalogue | None, fallback: Catalogue) -> tuple[InstanceType, ...]:
    recorded = base.instance_types.get(pool.name)
    if recorded is not None and catalogue is None:
        return recorded
    return tuple(shared(each, pool.labels) for each in (catalogue or fallback).types)
