"""What must hold at every moment, whatever goes wrong; judged by the real state, not by what the controller believes.

Each method is called at the moment when something can't be taken back: a machine is bought or deleted, a claim or a pod
is deleted, a claim is gone. It counts as one check for each rule that it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from autonodes.api.conditions import find_condition
from autonodes.api.nodeclaim import DISRUPTION_REASON, INITIALIZED, NodeClaim
from autonodes.controllers.claims import deleted_at
from autonodes.controllers.expiration import expires_at
from autonodes.controllers.termination import termination_deadline
from autonodes.core.budgets import DRIFTED, EMPTY, UNDERUTILIZED
from autonodes.core.clock import Clock
from autonodes.core.labels import DO_NOT_DISRUPT
from autonodes.kube.cache import Change
from autonodes.kube.client import Object
from autonodes.provider import LaunchRequest
from autonodes.verify.cloud import Record
from autonodes.verify.misbehaving import Misfortunes
from autonodes.verify.view import View, is_ready, is_running

ONE_MACHINE: Final = "one machine a claim"
CLAIMED: Final = "no machine without a claim"
LIMIT: Final = "never more machines than the limit"
BOUNDED: Final = "purchases stay bounded"
EVICTED: Final = "pods leave by eviction"
UNHARMED: Final = "no machine goes under a running pod"
REASONED: Final = "no node goes without a reason"
LAST: Final = "no claim goes before its machine"
FROZEN: Final = "nothing is bought or destroyed unseen"
LED: Final = "only the leader acts"
SERVED: Final = "every pod is served in the end"
MATCHED: Final = "each claim has a machine in the end, and each machine a claim"
GONE: Final = "nothing is left in the end"
SOUND: Final = "no defect"

FREEZE_AFTER: Final = {"refused": 5.0, "unavailable": 5.0, "deaf": 5.0, "hanging": 100.0}
"""Seconds of an outage after which at the latest nothing may be done: a broken watch tells at once, a silent one when
it has been silent for too long."""
LEASE_NOTICED: Final = 20.0
"""Seconds after which at the latest a Lease that was taken by force must have been noticed: the renewal's deadline."""
_FORCED: Final = frozenset({"SpotInterrupted", "ScheduledMaintenance", "HostFailed", "Unhealthy", "Unreachable"})
_SLACK: Final = 2.0
"""Seconds: stamps are whole, and clocks of the API server and of the controller differ by a request."""


@dataclass(frozen=True, slots=True)
class Violation:
    """:param at: seconds since the world began"""

    at: float
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass(slots=True)
class Standing:
    """What the world knows of one controller.

    :param deaf_since: since when the API server can't be reached by it, None while it can
    :param outage: in which way it can't
    :param skews: how wrong its clock has ever been
    """

    deaf_since: float | None = None
    outage: str = ""
    skews: set[float] = field(default_factory=lambda: {0.0})


class Invariants:
    """:param cores: millicores that the pool may have at most
    :param most: purchases that this world explains at most, asked at each purchase
    :param standings: by controller
    :param told: of each violation, as a line
    """

    def __init__(
        self,
        view: View,
        misfortunes: Misfortunes,
        clock: Clock,
        *,
        cores: int,
        most: Callable[[], int],
        standings: dict[str, Standing],
        told: Callable[[str], None],
    ) -> None:
        self._view, self._misfortunes, self._clock = view, misfortunes, clock
        self._cloud, self._cores, self._most, self._standings = misfortunes.cloud, cores, most, standings
        self._began, self._told = clock.now(), told
        self.checked = 0
        self.violations: list[Violation] = []
        self.lease_holder = ""
        self.lease_taken_at = float("-inf")
        self.written: set[str] = set()
        """UIDs of all claims that were ever written."""
        self._newest: dict[str, NodeClaim] = {}
        """What the API server last answered about claims: their watch may be a moment behind."""
        self.by_hand: set[str] = set()
        """Names of claims and nodes that somebody deletes by hand."""
        view.claims.subscribe(self._claim_changed)

    def check(self, rule: str, holds: bool, text: str) -> None:
        self.checked += 1
        if not holds:
            self.violations.append(Violation(self._clock.now() - self._began, rule, text))
            self._told(f"VIOLATION {self.violations[-1]}")

    # what a controller does to machines

    def buying(self, who: str) -> None:
        self._may_act(who, "buys a machine")

    def bought(self, request: LaunchRequest, record: Record) -> None:
        uid, name = request.claim_uid, request.claim_name
        machines = [each for each in self._cloud.records() if each["provider_id"] not in self._misfortunes.doubles]
        twins = [each for each in machines if each["claim_name"] == name]
        self.check(ONE_MACHINE, len(twins) == 1, f"{len(twins)} machines for claim {name}")
        self.check(CLAIMED, uid in self.written, f"a machine is bought for {name}, which nobody wrote as {uid}")
        claims = {claim.metadata.uid for claim in self._view.claims.items.values()}
        counted = [each for each in machines if each["claim_uid"] in claims or each is record]
        total = sum(each["capacity"]["cpu"] for each in counted)
        self.check(LIMIT, total <= self._cores, f"{total // 1000} cores where {self._cores // 1000} are allowed")
        most = self._most()
        count = len(self._cloud.purchases) - len(self._misfortunes.doubles)
        self.check(BOUNDED, count <= most, f"{count} machines bought where {most} can be explained")

    def deleting(self, who: str, provider_id: str) -> None:
        self._may_act(who, "deletes a machine")
        if not self._cloud.has(provider_id):
            return
        record = self._cloud.record(provider_id)
        claim, node = self._view.claim_of(record["claim_uid"]), self._view.nodes.get(record["node_name"])
        if node is None or node["spec"].get("providerID") != provider_id or self._seems_gone(node, claim):
            return
        deadline = None if claim is None else termination_deadline(claim)
        if deadline is not None and self._is_past(who, deadline):
            return
        silent = not is_ready(node)  # then nobody confirms that a pod that was to go has gone: the machine must
        pods = [pod for pod in self._view.pods_on(record["node_name"]) if _lives(pod)]
        running = [pod["metadata"]["name"] for pod in pods if not (silent and self._is_overdue(pod))]
        self.check(UNHARMED, not running, f"{record['node_name']} goes with {', '.join(running)} on it")

    def _is_overdue(self, pod: Object) -> bool:
        """Its time to stop has passed."""
        end = pod["metadata"].get("deletionTimestamp")
        return end is not None and datetime.fromisoformat(end).timestamp() <= self._clock.now()

    def _may_act(self, who: str, what: str) -> None:
        standing, now = self._standings[who], self._clock.now()
        deaf = 0.0 if standing.deaf_since is None else now - standing.deaf_since
        most = FREEZE_AFTER.get(standing.outage, 0.0)
        self.check(FROZEN, deaf <= most, f"{who} {what}, {deaf:.0f} s after it last heard the API server")
        leads = self.lease_holder == who or now - self.lease_taken_at <= LEASE_NOTICED
        self.check(LED, leads, f"{who} {what} while {self.lease_holder or 'nobody'} holds the Lease")

    def _is_past(self, who: str, moment: float) -> bool:
        """By any of the clocks that the controller had."""
        return any(self._clock.now() + skew >= moment - _SLACK for skew in self._standings[who].skews)

    # what a controller asks of the API server

    def deleting_pod(self, who: str, name: str, grace: float | None) -> None:
        pod = self._view.pods.get(name)
        if pod is None:
            return
        node = self._view.nodes.get(pod["spec"].get("nodeName", ""))
        claim = None if node is None else self._view.claims.get(node["metadata"]["name"])
        deadline = None if claim is None else termination_deadline(claim)
        seconds = float(pod["spec"].get("terminationGracePeriodSeconds") or 0)
        lawful = deadline is not None and self._is_past(who, deadline - seconds) and grace != 0
        is_dead = node is None or self._seems_gone(node, claim)
        self.check(EVICTED, lawful or is_dead or not _lives(pod), f"{name} is deleted, not evicted (grace {grace})")

    def _seems_gone(self, node: Object, claim: NodeClaim | None) -> bool:
        """The machine is gone; or its provider said so falsely, and no kubelet spoke against it: two witnesses."""
        if not self._cloud.has(node["spec"].get("providerID", "")):
            return True
        denied = claim is not None and claim.metadata.uid in self._misfortunes.excused
        return denied and not is_ready(node)

    def deleting_claim(self, who: str, name: str) -> None:
        claim, node = self._newest.get(name) or self._view.claims.get(name), self._view.nodes.get(name)
        if claim is None or deleted_at(claim) is not None:
            return
        reason = find_condition(claim.status.conditions, DISRUPTION_REASON)
        why = reason.reason if reason is not None and reason.status == "True" else ""
        running = () if node is None else tuple(pod for pod in self._view.pods_on(name) if is_running(pod))
        if why in (EMPTY, DRIFTED, UNDERUTILIZED):
            self._disrupted(claim, why, running)
            return
        lawful = (
            why in _FORCED
            or not claim.condition(INITIALIZED)
            or name in self.by_hand
            or not self._cloud.has(claim.status.provider_id)
            or node is None
            or not is_ready(node)
            or self._has_expired(who, claim)
        )
        self.check(REASONED, lawful, f"{name} is deleted, and nothing is wrong with it")

    def _disrupted(self, claim: NodeClaim, why: str, running: Collection[Object]) -> None:
        names = ", ".join(pod["metadata"]["name"] for pod in running)
        self.check(REASONED, why != EMPTY or not running, f"{claim.name} goes as empty with {names} on it")
        pinned = any((pod["metadata"].get("annotations") or {}).get(DO_NOT_DISRUPT) == "true" for pod in running)
        may = not pinned or (why == DRIFTED and claim.spec.termination_grace_period is not None)
        self.check(REASONED, may, f"{claim.name} is {why} and goes with a pod that is not to be disrupted: {names}")

    def _has_expired(self, who: str, claim: NodeClaim) -> bool:
        expiry = expires_at(claim)
        return expiry is not None and self._is_past(who, expiry)

    # what becomes of it

    def wrote_claim(self, body: Object) -> None:
        """The API server answered a write with this."""
        claim = NodeClaim.from_api(body)
        self._newest[claim.name] = claim
        self.written.add(claim.metadata.uid)

    def _claim_changed(self, change: Change[NodeClaim]) -> None:
        self._newest.pop(change.key, None)
        if change.new is not None:
            self.written.add(change.new.metadata.uid)
            return
        if change.old is not None:
            uid = change.old.metadata.uid
            machines = [each["provider_id"] for each in self._cloud.records() if each["claim_uid"] == uid]
            holds = not machines or uid in self._misfortunes.excused
            self.check(LAST, holds, f"{change.key} is gone and its machine is there: {', '.join(machines)}")


def _lives(pod: Object) -> bool:
    """Its containers run, be it that they were told to stop."""
    return bool(pod["status"].get("phase") == "Running")
