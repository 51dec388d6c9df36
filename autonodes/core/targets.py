"""Where pods can go without buying: nodes that exist, and claims in flight that will become nodes.

A node is known exactly: its labels, its taints, what runs on it. A claim in flight is known as far as it was decided: a
launched one by its labels; before that by the rows of the catalogue that it may still become, so that a pod counts on
it only if *each* of them would do, and only on the room that the smallest of them has.

A node that has not been initialized yet keeps its claim's promises where it does not report a resource itself (device
plugins register late), and its startup taints and the kubelet's own are looked through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from autonodes.core.bitsets import union
from autonodes.core.caps import Caps, Tally
from autonodes.core.catalog import Catalog
from autonodes.core.daemons import may_run_on, outstanding, overhead, ports, runs_on
from autonodes.core.labels import HOSTNAME, INITIALIZED, NODE_POOL, NORMALIZED, WELL_KNOWN
from autonodes.core.model import Claim, DaemonSet, HostPort, Node, Pod, Snapshot, Taint
from autonodes.core.requirements import FIELD_NAME, Requirements
from autonodes.core.resources import Resources, add, least, subtract
from autonodes.core.selection import Group
from autonodes.core.shapes import Shape
from autonodes.core.taints import lasting, untolerated
from autonodes.core.topology import group_of


@dataclass(eq=False)
class Place:
    """A node or a claim in flight, as no pod that waits changes it.

    :param node: None for a claim in flight
    :param claim: None for a node that nobody bought
    :param usable: whether more pods may be put there
    :param satisfies: whether a pod with these terms may count on it, by its labels alone
    :param values: what its label at a key is or may become, as far as that is known
    :param room: what is left; it may be negative
    :param ports: host ports that are taken
    :param pods: what runs there
    :param labels: those of a node; None for a claim, whose labels are not all decided
    """

    name: str
    node: Node | None
    claim: Claim | None
    initialized: bool
    usable: bool
    taints: tuple[Taint, ...]
    satisfies: Callable[[tuple[Requirements, ...]], bool]
    values: Callable[[str], frozenset[str]]
    room: Resources
    ports: Tally
    pods: tuple[Pod, ...] = ()
    labels: Mapping[str, str] | None = None

    def accepts(self, shape: Shape) -> bool:
        return untolerated(self.taints, shape.tolerations) is None and self.satisfies(shape.terms)

    def look(self, keys: Iterable[str]) -> Hashable:
        """Equal for nodes among which no pod that asks only for labels at ``keys`` can tell the difference."""
        if self.labels is None:
            return self.name
        return (self.taints, tuple(map(self.labels.get, keys)))

    @cached_property
    def kinds(self) -> Mapping[Hashable, Kind]:
        """The pods that run there, by what selectors can tell apart."""
        found: dict[Hashable, Kind] = {}
        for pod in self.pods:
            kind = found.setdefault((pod.namespace, frozenset(pod.labels.items())), Kind(pod))
            kind.leaving += pod.deleted_at is not None
            kind.staying += pod.deleted_at is None
        return found

    @cached_property
    def keepers(self) -> tuple[tuple[Group, Pod], ...]:
        """The groups that anti-affinity of pods there keeps out, with the pods."""
        return tuple((group_of(term), pod) for pod in self.pods for term in pod.apart)


@dataclass(eq=False, slots=True)
class Kind:
    """Pods on one node among which no selector can tell the difference.

    :param pod: one of them
    """

    pod: Pod
    staying: int = 0
    leaving: int = 0

    def count(self, group: Group) -> int:
        """How many of them count for a group that they are in."""
        return self.staying if group.staying else self.staying + self.leaving


class Target:
    """A place while pods are put there in one plan.

    :ivar room: what is left
    :ivar tally: what its pods, those that are to come included, mean for others
    """

    __slots__ = ("place", "room", "tally")

    def __init__(self, place: Place, tally: Tally) -> None:
        self.place, self.room, self.tally = place, dict(place.room), tally

    @property
    def name(self) -> str:
        return self.place.name

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


def find_places(snapshot: Snapshot, catalog: Catalog) -> list[Place]:
    """All of them: initialized nodes first, then those in flight, each by name.

    Those of the last snapshot are kept, for most of them are the same in the next one.
    """
    kept = next((places for daemonsets, places in _LAST if daemonsets == snapshot.daemonsets), {})
    known: dict[str, tuple[_Parts, Place]] = {}
    for name, parts in _parts(snapshot, catalog):
        found = kept.get(name)
        if found is None or found[0] != parts:
            found = (parts, parts.place(snapshot.daemonsets))
        known[name] = found
    _LAST[:] = [(snapshot.daemonsets, known)]
    return sorted((place for _, place in known.values()), key=lambda place: (not place.initialized, place.name))


class _OfNode(NamedTuple):
    """All that the place of a node depends on, the DaemonSets aside."""

    node: Node
    claim: Claim | None
    pods: tuple[Pod, ...]

    def place(self, daemonsets: Sequence[DaemonSet]) -> Place:
        return _of_node(self.node, self.claim, self.pods, daemonsets)


class _OfClaim(NamedTuple):
    """The same of a claim in flight.

    :param catalog: None if it has been launched
    """

    claim: Claim
    catalog: Catalog | None

    def place(self, daemonsets: Sequence[DaemonSet]) -> Place:
        return _of_claim(self.claim, daemonsets, self.catalog)


_Parts = _OfNode | _OfClaim

_LAST: list[tuple[tuple[DaemonSet, ...], Mapping[str, tuple[_Parts, Place]]]] = []


def _parts(snapshot: Snapshot, catalog: Catalog) -> Iterator[tuple[str, _Parts]]:
    """Name → parts; no claim in flight has the name of a node."""
    running: dict[str, list[Pod]] = defaultdict(list)
    for pod in snapshot.pods:
        if pod.node_name and not pod.terminal:
            running[pod.node_name].append(pod)
    claims = pair(snapshot)
    for node in snapshot.nodes:
        yield node.name, _OfNode(node, claims.get(node.name), tuple(running.get(node.name, ())))
    known = {claim.uid for claim in claims.values()}
    for claim in snapshot.claims:
        if claim.uid not in known:
            yield claim.name, _OfClaim(claim, None if claim.launched else catalog)


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


def _of_node(node: Node, claim: Claim | None, running: tuple[Pod, ...], daemonsets: Sequence[DaemonSet]) -> Place:
    initialized = is_initialized(node, claim)
    leaving = node.deleted_at is not None or (claim is not None and claim.deleted_at is not None)
    labels, taints, allocatable = node_labels(node), node.taints, dict(node.allocatable)
    if claim is not None and not initialized:
        labels = {**claim.requirements.labels(but=WELL_KNOWN), **claim.labels, **labels}
        taints = lasting((*claim.taints, *node.taints), claim.startup_taints)
        allocatable.update({name: amount for name, amount in claim.allocatable.items() if not allocatable.get(name)})
    daemons = [daemon for daemon in daemonsets if runs_on(daemon, taints, labels)]
    room = subtract(allocatable, add(*(pod.requests for pod in running)))
    present = add(*(pod.requests for pod in running if pod.owner_kind == "DaemonSet"))
    room = subtract(room, outstanding(overhead(daemons), present))
    return Place(
        name=node.name,
        node=node,
        claim=claim,
        initialized=initialized,
        usable=not leaving and not node.unschedulable,
        taints=taints,
        satisfies=_satisfied_by(labels),
        values=_values(labels),
        room=room,
        ports=_taken(ports(daemons), *(pod.host_ports for pod in running if pod.host_ports)),
        pods=running,
        labels=labels,
    )


def _of_claim(claim: Claim, daemonsets: Sequence[DaemonSet], catalog: Catalog | None) -> Place:
    """:param catalog: None if the claim has been launched"""
    taints, known = lasting(claim.taints, claim.startup_taints), _known(claim)
    rows = claim_rows(claim, catalog) if catalog is not None else 0
    if catalog is not None and rows:
        chosen = list(catalog.select(rows))
        satisfies, room = _by_rows(claim, rows, catalog), least(row.room for row in chosen)
        taken = _taken(*(row.ports for row in chosen))
    else:
        daemons = [daemon for daemon in daemonsets if may_run_on(daemon, taints, known, WELL_KNOWN)]
        satisfies, room = _guaranteed_by(known), subtract(claim.allocatable, overhead(daemons))
        taken = _taken(ports(daemons))
    return Place(
        name=claim.name,
        node=None,
        claim=claim,
        initialized=False,
        usable=claim.deleted_at is None,
        taints=taints,
        satisfies=satisfies,
        values=_possible(known),
        room=room,
        ports=taken,
    )


def _taken(*listed: tuple[HostPort, ...]) -> Tally:
    tally = Tally()
    for host_ports in listed:
        if host_ports:
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
