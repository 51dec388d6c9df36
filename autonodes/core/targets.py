"""Where pods can go without buying: nodes that exist, and claims in flight that will become nodes.

A node is known exactly: its labels, its taints, what runs on it. A claim in flight is known as far as it was decided: a
launched one by its labels; before that by the rows of the catalogue that it may still become, so that a pod counts on
it only if *each* of them would do, and only on the room that the smallest of them has.

A node that has not been initialized yet keeps its claim's promises where it does not report a resource itself (device
plugins register late), and its startup taints and the kubelet's own are looked through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from autonodes.core.bitsets import union
from autonodes.core.caps import Caps, Tally
from autonodes.core.catalog import Catalog
from autonodes.core.daemons import may_run_on, outstanding, overhead, ports, runs_on
from autonodes.core.labels import HOSTNAME, INITIALIZED, NODE_POOL, NORMALIZED, WELL_KNOWN
from autonodes.core.model import Claim, HostPort, Node, Pod, Snapshot, Taint
from autonodes.core.requirements import FIELD_NAME, Requirements
from autonodes.core.resources import add, least, subtract
from autonodes.core.shapes import Shape
from autonodes.core.taints import lasting, untolerated


@dataclass(eq=False)
class Target:
    """A node or a claim in flight, with the room that is left on it.

    :param satisfies: whether a pod with these terms may count on it, by its labels alone
    :param values: what its label at a key is or may become, as far as that is known
    :param labels: those of a node; None for a claim, whose labels are not all decided
    :param room: what is left; it may be negative
    :param tally: what its pods, those that are to come included, mean for others
    """

    name: str
    initialized: bool
    taints: tuple[Taint, ...]
    satisfies: Callable[[tuple[Requirements, ...]], bool]
    values: Callable[[str], frozenset[str]]
    room: dict[str, int]
    tally: Tally = field(default_factory=Tally)
    labels: Mapping[str, str] | None = None

    def accepts(self, shape: Shape) -> bool:
        return untolerated(self.taints, shape.tolerations) is None and self.satisfies(shape.terms)

    def look(self, keys: Iterable[str]) -> Hashable:
        """Equal for nodes among which no pod that asks only for labels at ``keys`` can tell the difference."""
        if self.labels is None:
            return self.name
        return (self.taints, tuple(map(self.labels.get, keys)))

    def room_for(self, shape: Shape, count: int, caps: Caps | None = None) -> int:
        """How many of ``count`` pods of the shape it takes, its labels and taints aside.

        :param caps: instead of the shape's
        """
        room = self.room
        for name, amount in shape.requests.items():
            count = min(count, room.get(name, 0) // amount)
            if count <= 0:
                return 0
        return self.tally.room_for(shape.caps if caps is None else caps, count) if shape.caps else count

    def take(self, shape: Shape, count: int = 1) -> None:
        for name, amount in shape.requests.items():
            self.room[name] = self.room.get(name, 0) - amount * count
        self.tally.add(shape.caps, count)


class Usage:
    """What runs where: the bound pods by their nodes."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self.pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            if pod.node_name and not pod.terminal:
                self.pods[pod.node_name].append(pod)


def find_targets(snapshot: Snapshot, catalog: Catalog, usage: Usage) -> list[Target]:
    """All of them: initialized nodes first, then those in flight, each by name."""
    claims = pair(snapshot)
    nodes = [
        _of_node(node, claims.get(node.name), usage.pods.get(node.name, ()), snapshot)
        for node in snapshot.nodes
        if node.deleted_at is None and not node.unschedulable and not _leaving(claims.get(node.name))
    ]
    known = {claim.uid for claim in claims.values()}
    flying = [
        _of_claim(claim, snapshot, catalog)
        for claim in snapshot.claims
        if claim.uid not in known and claim.deleted_at is None
    ]
    return sorted((*nodes, *flying), key=lambda target: (not target.initialized, target.name))


def pair(snapshot: Snapshot) -> dict[str, Claim]:
    """Node name → its claim, by the node name that the claim states (else its own) or by the provider id."""
    by_name = {claim.node_name or claim.name: claim for claim in snapshot.claims}
    by_provider = {claim.provider_id: claim for claim in snapshot.claims if claim.provider_id}
    pairs = {}
    for node in snapshot.nodes:
        claim = by_name.get(node.name) or (by_provider.get(node.provider_id) if node.provider_id else None)
        if claim is not None:
            pairs[node.name] = claim
    return pairs


def claim_rows(claim: Claim, catalog: Catalog) -> int:
    """The rows of the catalogue that a claim that has not been launched may become."""
    return catalog.labels.satisfying(claim.pool, claim.requirements)


def node_labels(node: Node) -> dict[str, str]:
    """With deprecated keys replaced, and the node's name under the key that stands for ``matchFields``."""
    labels = dict(node.labels)
    for deprecated, key in NORMALIZED.items():
        if deprecated in labels:
            labels.setdefault(key, labels[deprecated])
    labels[FIELD_NAME] = node.name
    return labels


def is_initialized(node: Node, claim: Claim | None) -> bool:
    """A node that no claim stands behind is what it is; others are when the claim or the label says so."""
    return claim is None or claim.initialized or node.labels.get(INITIALIZED) == "true"


def _leaving(claim: Claim | None) -> bool:
    return claim is not None and claim.deleted_at is not None


def _of_node(node: Node, claim: Claim | None, running: Iterable[Pod], snapshot: Snapshot) -> Target:
    initialized = is_initialized(node, claim)
    labels, taints, allocatable = node_labels(node), node.taints, dict(node.allocatable)
    if claim is not None and not initialized:
        labels = {**claim.requirements.labels(but=WELL_KNOWN), **claim.labels, **labels}
        taints = lasting((*claim.taints, *node.taints), claim.startup_taints)
        allocatable.update({name: amount for name, amount in claim.allocatable.items() if not allocatable.get(name)})
    daemons = [daemon for daemon in snapshot.daemonsets if runs_on(daemon, taints, labels)]
    room = subtract(allocatable, add(*(pod.requests for pod in running)))
    present = add(*(pod.requests for pod in running if pod.owner_kind == "DaemonSet"))
    room = subtract(room, outstanding(overhead(daemons), present))
    tally = _with_ports(ports(daemons), *(pod.host_ports for pod in running if pod.host_ports))
    return Target(node.name, initialized, taints, _satisfied_by(labels), _values(labels), room, tally, labels)


def _of_claim(claim: Claim, snapshot: Snapshot, catalog: Catalog) -> Target:
    taints, known = lasting(claim.taints, claim.startup_taints), _known(claim)
    rows = 0 if claim.launched else claim_rows(claim, catalog)
    if rows:
        chosen = list(catalog.select(rows))
        tally = _with_ports(*(row.ports for row in chosen))
        satisfies = _by_rows(claim, rows, catalog)
        return Target(claim.name, False, taints, satisfies, _possible(known), least(row.room for row in chosen), tally)
    daemons = [daemon for daemon in snapshot.daemonsets if may_run_on(daemon, taints, known, WELL_KNOWN)]
    room = subtract(claim.allocatable, overhead(daemons))
    return Target(claim.name, False, taints, _guaranteed_by(known), _possible(known), room, _with_ports(ports(daemons)))


def _with_ports(*taken: tuple[HostPort, ...]) -> Tally:
    tally = Tally()
    for host_ports in taken:
        tally.add(Caps().with_ports(host_ports))
    return tally


def _values(labels: Mapping[str, str]) -> Callable[[str], frozenset[str]]:
    return lambda key: frozenset((labels[key],)) if key in labels else frozenset()


def _possible(known: Requirements) -> Callable[[str], frozenset[str]]:
    """A label that may have any value counts as having none."""
    return lambda key: known.allowed(key).values if not known.allowed(key).complement else frozenset()


def _known(claim: Claim) -> Requirements:
    """What the node's labels will be, as far as that is decided; its name is."""
    named = {NODE_POOL: claim.pool, HOSTNAME: claim.name, FIELD_NAME: claim.name, **claim.labels}
    decided = Requirements.from_labels(named)
    return decided & claim.requirements.without(decided)


def _satisfied_by(labels: Mapping[str, str]) -> Callable[[tuple[Requirements, ...]], bool]:
    return lambda terms: any(term.satisfied_by(labels) for term in terms)


def _guaranteed_by(known: Requirements) -> Callable[[tuple[Requirements, ...]], bool]:
    return lambda terms: any(known.subset_of(term) for term in terms)


def _by_rows(claim: Claim, rows: int, catalog: Catalog) -> Callable[[tuple[Requirements, ...]], bool]:
    """Each row that the claim may become satisfies some term; what rows leave open the claim itself must settle."""
    known = _known(claim)

    def satisfies(terms: tuple[Requirements, ...]) -> bool:
        settled = [term for term in terms if known.subset_of(catalog.labels.undecided(claim.pool, term))]
        return not rows & ~union(catalog.labels.satisfying(claim.pool, term) for term in settled)

    return satisfies
