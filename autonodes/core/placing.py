"""Placing pods on what is there already: nodes, and claims in flight.

First the promises are kept: a pod that kube-scheduler has nominated for a node, or that an earlier plan has promised
to a node or claim, goes there. Then shape by shape, the important and the large ones first, onto the first nodes with
room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autonodes.core.caps import Caps, Counter
from autonodes.core.census import Census
from autonodes.core.model import Pod, PodUID
from autonodes.core.resources import Resources
from autonodes.core.shapes import Shape
from autonodes.core.standing import Targets
from autonodes.core.taints import SOFT_EFFECTS, untolerated
from autonodes.core.targets import Target


class Placing:
    """:param respect: ``PreferNoSchedule`` taints make nodes the last choice
    :ivar placements: what was placed where
    """

    def __init__(self, targets: Targets, census: Census, *, respect: bool = True) -> None:
        self.placements: dict[PodUID, str] = {}
        self._targets, self._census = targets, census
        self._avoid = respect and targets.standing.avoidable

    @property
    def counters(self) -> frozenset[Counter]:
        """Those to which some pod adds that has a node, or a place on one."""
        return self._targets.counters | self._census.present

    def keep_promises(self, shapes: Iterable[Shape], nominations: Mapping[PodUID, str]) -> None:
        """Place nominated pods where they were nominated, and take them off their shapes."""
        for shape in shapes:
            promised = [pod for pod in shape.pods if self._keep_promise(pod, shape, nominations)]
            if promised:
                kept = {pod.uid for pod in promised}
                shape.pods = [pod for pod in shape.pods if pod.uid not in kept]

    def _keep_promise(self, pod: Pod, shape: Shape, nominations: Mapping[PodUID, str]) -> bool:
        by_scheduler = self._targets.named(pod.nominated_node)
        is_own = pod.nominated_node == nominations.get(pod.uid)  # what was promised is what the pod shows
        if by_scheduler is not None and by_scheduler.place.initialized and not is_own:
            self._put(pod, shape, by_scheduler)  # it makes room there itself: what is in the way is being preempted
            return True
        for name in (pod.nominated_node, nominations.get(pod.uid, "")):
            target = self._targets.named(name)
            if target is not None and target.place.accepts(shape) and target.room_for(shape, 1, _promised(shape)):
                self._put(pod, shape, target)
                return True
        return False

    def place(self, shapes: Iterable[Shape]) -> None:
        """Place what can be placed, and take it off the shapes."""
        listed = list(shapes)
        room = self._targets.room if len(listed) > 1 else {}
        ordered = sorted(
            listed, key=lambda each: (-each.priority, bool(each.caps.needs), -_size(each.requests, room), each.index)
        )
        for shape in ordered:
            self._place(shape, listed)
        for shape in ordered:
            if shape.caps.needs and shape.pods:  # those that they follow may have a place now
                self._place(shape, listed)

    def _place(self, shape: Shape, listed: Sequence[Shape]) -> None:
        if shape.caps.needs and not self._founded(shape, listed):
            return
        for target in self._preferred_first(shape) if shape.pods else ():
            count = target.room_for(shape, len(shape.pods))
            if count:
                target.take(shape, count)
                self.placements.update((pod.uid, target.name) for pod in shape.pods[:count])
                shape.pods = shape.pods[count:]
            if not shape.pods:
                return

    def _preferred_first(self, shape: Shape) -> Iterable[Target]:
        fitting = self._targets.fitting(shape)
        if not self._avoid:
            return fitting

        def avoided(target: Target) -> bool:
            return untolerated(target.place.taints, shape.tolerations, SOFT_EFFECTS) is not None

        return sorted(fitting, key=avoided)

    def _founded(self, shape: Shape, listed: Iterable[Shape]) -> bool:
        """Pods that must share a node: the first node that takes them all, if none of their group is anywhere, or waits
        and may go anywhere."""
        needs = shape.caps.needs
        if needs & self.counters or not needs <= shape.caps.counts:
            return True
        if any(each.pods and needs <= each.caps.counts and not needs <= each.caps.needs for each in listed):
            return False
        count = len(shape.pods)
        first = _promised(shape)
        for target in self._targets.fitting(shape, first):
            if target.room_for(shape, count, first) == count:
                target.take(shape, count)
                self.placements.update((pod.uid, target.name) for pod in shape.pods)
                shape.pods = []
                return False
        return False

    def _put(self, pod: Pod, shape: Shape, target: Target) -> None:
        target.take(shape)
        self._census.promised(shape.topology, target)
        self.placements[pod.uid] = target.name


def _promised(shape: Shape) -> Caps:
    """Pods that must share a node may each be the first that is put where all are promised to."""
    return Caps(shape.caps.counts, shape.caps.limits)


def _size(requests: Resources, room: Resources) -> float:
    """How large a request is beside all the room there is."""
    return sum(amount / max(1, room.get(name, 0)) for name, amount in requests.items())
