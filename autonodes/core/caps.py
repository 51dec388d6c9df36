"""How many pods of a kind may be on one node: host ports, anti-affinity and spread by hostname, in one form.

Each such rule is a *counter*: a pod adds to some counters, and as long as it is on a node it limits some there. A host
port, anti-affinity by hostname and a spread of at most n a node differ only in which pods add and who limits. As every
pod on the node holds its limits against all others, old and new, what obeys them is right in whatever order the pods
arrive.

Affinity by hostname is the opposite: a pod *needs* a counter to be above 0. Who may be the first is not decided here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from autonodes.core.hostports import EVERY_ADDRESS
from autonodes.core.model import HostPort

Counter = Hashable


@dataclass(frozen=True, slots=True)
class Caps:
    """:param counts: counters to which a pod adds one
    :param limits: the most that counters may say as long as the pod is there, itself included
    :param needs: counters to which a pod that is there already must add
    """

    counts: frozenset[Counter] = frozenset()
    limits: tuple[tuple[Counter, int], ...] = ()
    needs: frozenset[Counter] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.counts or self.limits or self.needs)

    @property
    def most(self) -> int | None:
        """Equal pods on one node; None if their number is not limited."""
        return min((limit for counter, limit in self.limits if counter in self.counts), default=None)

    def with_ports(self, ports: Iterable[HostPort]) -> Caps:
        """These and the counters of host ports: one for the number, for every address, and for each address."""
        listed = {(port.port, port.protocol or "TCP", port.ip) for port in ports}
        whole = {(number, protocol) for number, protocol, ip in listed if ip in EVERY_ADDRESS}
        counts, limits = set(self.counts), dict(self.limits)
        for number, protocol, ip in sorted(listed):
            port = (number, protocol)
            counts.add(port)
            if port in whole:
                counts.add((*port, "*"))
                limits[port] = 1
            else:
                counts.add((*port, ip))
                limits.update({(*port, ip): 1, (*port, "*"): 0})
        return Caps(frozenset(counts), tuple(limits.items()), self.needs)


UNLIMITED = Caps()


class Tally:
    """What the counters of one node say, and how far they may go."""

    __slots__ = ("counts", "limits")

    def __init__(self) -> None:
        self.counts: dict[Counter, int] = {}
        self.limits: dict[Counter, int] = {}

    def copy(self) -> Tally:
        other = Tally()
        other.counts, other.limits = dict(self.counts), dict(self.limits)
        return other

    def room_for(self, caps: Caps, wanted: int) -> int:
        """How many equal pods may come, at most ``wanted``."""
        counts, limits = self.counts, self.limits
        for counter, limit in caps.limits:
            left = limit - counts.get(counter, 0)
            if counter in caps.counts:
                wanted = min(wanted, left)
            elif left < 0:
                return 0
        if limits:
            for counter in caps.counts:
                if counter in limits:
                    wanted = min(wanted, limits[counter] - counts.get(counter, 0))
        for counter in caps.needs:
            if not counts.get(counter):
                return 0
        return max(0, wanted)

    def add(self, caps: Caps, count: int = 1) -> None:
        for counter in caps.counts:
            self.counts[counter] = self.counts.get(counter, 0) + count
        for counter, limit in caps.limits:
            self.limits[counter] = min(limit, self.limits.get(counter, limit))
