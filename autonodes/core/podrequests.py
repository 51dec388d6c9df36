"""The effective request of a pod: what kube-scheduler reserves for it on a node.

Rules, as in ``k8s.io/component-helpers/resource``:

- containers run together: their sum;
- init containers run one after another, before them: the greatest, each beside the restartable ones started earlier;
- restartable init containers (sidecars, KEP-753) stay: they count with the containers;
- pod-level resources (KEP-2837) replace the sum for CPU, memory and huge pages, where they are set;
- the runtime class's overhead is added; the pod itself is one of ``pods``.

A container that sets a limit and no request requests its limit. The API server writes that into pods but not into the
templates of DaemonSets, so it is done here. While a resize is under way (KEP-1287) the greater of two sums counts: what
the spec asks for, and what the kubelet has given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from autonodes.core.resources import Resources, add, greatest


@dataclass(frozen=True, slots=True)
class Container:
    """:param restartable: an init container with ``restartPolicy: Always``
    :param allocated: what the kubelet has given, from the container's status; empty where it says nothing
    """

    requests: Resources = field(default_factory=dict)
    limits: Resources = field(default_factory=dict)
    restartable: bool = False
    allocated: Resources = field(default_factory=dict)


def pod_requests(
    containers: Sequence[Container],
    init_containers: Sequence[Container] = (),
    *,
    pod_requests: Resources | None = None,
    pod_limits: Resources | None = None,
    overhead: Resources | None = None,
) -> dict[str, int]:
    """The effective request, with ``pods: 1`` and without resources of which nothing is requested.

    :param containers: in the order of the spec, as the init containers
    :param pod_requests: ``spec.resources.requests``
    :param pod_limits: ``spec.resources.limits``
    """
    total = _sum(containers, init_containers, _asked)
    if any(container.allocated for container in (*containers, *init_containers)):
        total = greatest((total, _sum(containers, init_containers, _held)))
    total.update(_pod_level(total, pod_requests or {}, pod_limits or {}))
    if overhead:
        total = add(total, overhead)
    total["pods"] = 1
    return {name: amount for name, amount in total.items() if amount}


def _sum(
    containers: Iterable[Container],
    init_containers: Iterable[Container],
    of: Callable[[Container], Resources],
) -> dict[str, int]:
    running = add(*map(of, containers))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for container in init_containers:
        beside = add(sidecars, of(container))
        if container.restartable:
            sidecars = beside
        starting = greatest((starting, beside))
    return greatest((add(running, sidecars), starting))


def _asked(container: Container) -> Resources:
    return {**container.limits, **container.requests} if container.limits else container.requests


def _held(container: Container) -> Resources:
    return container.allocated or _asked(container)


def _pod_level(total: Resources, requests: Resources, limits: Resources) -> dict[str, int]:
    """A limit without a request counts only where no container requests anything, as the API server defaults it."""
    levels = {name: amount for name, amount in limits.items() if name not in total}
    levels.update(requests)
    return {name: amount for name, amount in levels.items() if _supported(name)}


def _supported(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")
