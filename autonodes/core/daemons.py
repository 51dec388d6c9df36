"""What DaemonSets take of a node before any other pod gets there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from autonodes.core.model import DaemonSet, HostPort, Pod, Taint
from autonodes.core.requirements import FIELD_NAME, Requirements
from autonodes.core.resources import Resources, add
from autonodes.core.taints import untolerated


def runs_on(daemon: DaemonSet, taints: Iterable[Taint], labels: Mapping[str, str]) -> bool:
    """Whether the DaemonSet puts a pod on a node that exists.

    :param labels: the node's, deprecated keys replaced
    """
    if untolerated(taints, daemon.pod.tolerations) is not None:
        return False
    terms = unnamed_terms(daemon.pod)
    return not terms or any(term.satisfied_by(labels) for term in terms)


def may_run_on(
    daemon: DaemonSet, taints: Iterable[Taint], known: Requirements, allow_undefined: Collection[str]
) -> bool:
    """Whether it may put a pod on a node of which only ``known`` is known."""
    if untolerated(taints, daemon.pod.tolerations) is not None:
        return False
    terms = unnamed_terms(daemon.pod)
    return not terms or any(known.compatible(term, allow_undefined) for term in terms)


def unnamed_terms(pod: Pod) -> tuple[Requirements, ...]:
    """The terms without the node's name, to which the DaemonSet controller pins each pod that it has made."""
    return tuple(term.without((FIELD_NAME,)) for term in pod.required_terms)


def overhead(daemons: Iterable[DaemonSet]) -> dict[str, int]:
    return add(*(daemon.pod.requests for daemon in daemons))


def ports(daemons: Iterable[DaemonSet]) -> tuple[HostPort, ...]:
    return tuple(port for daemon in daemons for port in daemon.pod.host_ports)


def outstanding(expected: Resources, present: Resources) -> dict[str, int]:
    """What the daemons of a node still have to take: all that is expected, less what is there already."""
    rest = {name: amount - present.get(name, 0) for name, amount in expected.items()}
    return {name: amount for name, amount in rest.items() if amount > 0}
