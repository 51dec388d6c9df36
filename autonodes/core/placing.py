"""Placing pods on what is there already: nodes, and claims in flight.

First the promises are kept: a pod that kube-scheduler has nominated for a node, or that an earlier plan has promised
to a node or claim, goes there. Then shape by shape, the important and the large ones first, onto the first nodes with
room.
Whether a shape is accepted is asked once for all nodes that look alike to the pods that wait.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from autonodes.core.caps import Caps, Counter
from autonodes.core.census import Census
from autonodes.core.model import Pod, PodUID
from autonodes.core.resources import Resources, add
from autonodes.core.shapes import Shape
from autonodes.core.targets import Target


class Placing:
    """:param placements: what was placed where"""

    def __init__(self, targets: Sequence[Target], census: Census) -> None:
        self.placements: dict[PodUID, str] = {}
        self._targets, self._census = targets, census
        self._by_name = {target.name: target for target in targets}

    @property
    def counters(self) -> frozenset[Counter]:
        """Those to which some pod on a node or claim adds."""
        return frozenset(counter for target in self._targets for counter, count in target.tally.counts.items() if count)

    def keep_promises(self, shapes: Iterable[Shape], nominations: Mapping[PodUID, str]) -> None:
        """Place nominated pods where they were nominated, and take them off their shapes."""
        for shape in shapes:
            promised = [pod for pod in shape.pods if self._keep_promise(pod, shape, nominations)]
            if promised:
                kept = {pod.uid for pod in promised}
                shape.pods = [pod for pod in shape.pods if pod.uid not in kept]

    def _keep_promise(self, pod: Pod, shape: Shape, nominations: Mapping[PodUID, str]) -> bool:
        by_scheduler = self._by_name.get(pod.nominated_node)
        is_own = pod.nominated_node == nominations.get(pod.uid)  # what was promised is what the pod shows
        if by_scheduler is not None and by_scheduler.initialized and not is_own:
            self._put(pod, shape, by_scheduler)  # it makes room there itself: what is in the way is being preempted
            return True
        for name in (pod.nominated_node, nominations.get(pod.uid, "")):
            target = self._by_name.get(name)
            if target is not None and target.accepts(shape) and target.room_for(shape, 1, _promised(shape)):
                self._put(pod, shape, target)
                return True
        return False

    def place(self, shapes: Iterable[Shape]) -> None:
        """Place what can be placed, and take it off the shapes."""
        listed = list(shapes)
        keys = sorted({key for shape in listed for term in shape.terms for key in term})
        self._looks = [target.look(keys) for target in self._targets]
        self._accepted: dict[tuple[object, Hashable], bool] = {}
        room = add(*(target.room for target in self._targets))
        for shape in sorted(
            listed, key=lambda each: (-each.priority, bool(each.caps.needs), -_size(each.requests, room), each.index)
        ):
            self._place(shape)

    def _place(self, shape: Shape) -> None:
        if shape.caps.needs and not self._founded(shape):
            return
        for target, look in zip(self._targets, self._looks, strict=True):
            if not shape.pods:
                return
            count = target.room_for(shape, len(shape.pods))
            if count and self._accepts(target, look, shape):
                target.take(shape, count)
                self.placements.update((pod.uid, target.name) for pod in shape.pods[:count])
                shape.pods = shape.pods[count:]

    def _founded(self, shape: Shape) -> bool:
        """Pods that must share a node: the first node that takes them all, if none of their group is anywhere."""
        if shape.caps.needs & (self.counters | self._census.present) or not shape.caps.needs <= shape.caps.counts:
            return True
        count = len(shape.pods)
        first = _promised(shape)
        for target, look in zip(self._targets, self._looks, strict=True):
            if target.room_for(shape, count, first) == count and self._accepts(target, look, shape):
                target.take(shape, count)
                self.placements.update((pod.uid, target.name) for pod in shape.pods)
                shape.pods = []
                return False
        return False

    def _accepts(self, target: Target, look: Hashable, shape: Shape) -> bool:
        key = (shape.constraints, look)
        if key not in self._accepted:
            self._accepted[key] = target.accepts(shape)
        return self._accepted[key]

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
