"""Which nodes are empty and can be given back, and why the others can't.

A node is empty if nothing runs on it that would have to run elsewhere: DaemonSet and static pods, ended pods and
expendable ones don't hold it. It is still kept if a pod that waits would go there, if somebody asked not to disrupt it,
until its pool's ``consolidateAfter`` has passed since the last pod event, or while the pool's budget is used up.

A pod that is on its way out holds its node until it is gone: its work may not be done.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from autonodes.core.budgets import EMPTY, allowances
from autonodes.core.disruptability import protected, protected_pod, stuck
from autonodes.core.durations import format_duration
from autonodes.core.labels import DO_NOT_DISRUPT
from autonodes.core.model import Claim, Node, NodePool, Pod, PodUID, Snapshot
from autonodes.core.planner import place
from autonodes.core.shapes import is_expendable
from autonodes.core.targets import is_initialized, pair

DELETING: Final = "Deleting"
NOT_INITIALIZED: Final = "NotInitialized"
NO_NODE_POOL: Final = "NoNodePool"
IN_USE: Final = "InUse"
WANTED: Final = "Wanted"
DO_NOT_DISRUPT_SET: Final = "DoNotDisrupt"
CONSOLIDATION_DISABLED: Final = "ConsolidationDisabled"
TOO_SOON: Final = "TooSoon"
BUDGET_EXHAUSTED: Final = "BudgetExhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """On one node that a claim stands behind.

    :param code: `EMPTY` if it can go, else the first thing that keeps it
    :param text: the same for people
    :param since: when it was last used: the last pod event, or the claim's creation
    :param not_before: if only time keeps it, when to look again; else None
    """

    node: str
    claim: str
    pool: str
    code: str
    text: str
    since: float
    not_before: float | None = None

    @property
    def removable(self) -> bool:
        return self.code == EMPTY


def empty_nodes(snapshot: Snapshot, pod_events: Mapping[str, float]) -> list[Verdict]:
    """A verdict on each node of ours, in the order of their names.

    The budget goes to the nodes that have been empty for longest.

    :param pod_events: node name → when a pod was last bound to it or left it, in seconds since the epoch
    """
    claims = pair(snapshot)
    view = _View(snapshot)
    verdicts = [
        view.verdict(node, claims[node.name], pod_events.get(node.name))
        for node in snapshot.nodes
        if node.name in claims
    ]
    return sorted(_within_budgets(verdicts, snapshot), key=lambda verdict: verdict.node)


class _View:
    """The snapshot, arranged by node."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot.now
        self._pools = {pool.name: pool for pool in snapshot.pools}
        self._pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in snapshot.pods:
            if pod.node_name:
                self._pods[pod.node_name].append(pod)
        self._wanted = Counter(_wanted(snapshot))

    def verdict(self, node: Node, claim: Claim, last_event: float | None) -> Verdict:
        since = claim.created_at if last_event is None else max(last_event, claim.created_at)
        code, text, not_before = self._judge(node, claim, since)
        return Verdict(
            node=node.name,
            claim=claim.name,
            pool=claim.pool,
            code=code,
            text=text,
            since=since,
            not_before=not_before,
        )

    def _judge(self, node: Node, claim: Claim, since: float) -> tuple[str, str, float | None]:
        if node.deleted_at is not None or claim.deleted_at is not None:
            return DELETING, "it is being deleted", None
        if not is_initialized(node, claim):
            return NOT_INITIALIZED, "it is not initialized yet", None
        pool = self._pools.get(claim.pool)
        if pool is None:
            return NO_NODE_POOL, f"its NodePool {claim.pool} is static, does not exist, or can't be used now", None
        kept = self._kept_by_pods(node) or self._kept_by_annotations(node, claim)
        if kept:
            return (*kept, None)
        return self._kept_by_time(pool, since)

    def _kept_by_pods(self, node: Node) -> tuple[str, str] | None:
        holding = [pod.key for pod in self._pods[node.name] if holds(pod, self._now)]
        if holding:
            return IN_USE, f"{_count(holding)} on it: {_few(holding)}"
        if self._wanted[node.name]:
            return WANTED, f"{self._wanted[node.name]} pending pod(s) will go there"
        return None

    def _kept_by_annotations(self, node: Node, claim: Claim) -> tuple[str, str] | None:
        if protected(node.annotations) or protected(claim.annotations):
            return DO_NOT_DISRUPT_SET, f"it has the annotation {DO_NOT_DISRUPT}"
        pods = [pod.key for pod in self._pods[node.name] if protected_pod(pod, self._now)]
        if pods:
            return DO_NOT_DISRUPT_SET, f"annotation {DO_NOT_DISRUPT} on {_few(pods)}"
        return None

    def _kept_by_time(self, pool: NodePool, since: float) -> tuple[str, str, float | None]:
        due = quiet_from(pool.consolidate_after, since)
        if due is None:
            return CONSOLIDATION_DISABLED, f"consolidateAfter of NodePool {pool.name} is Never", None
        if self._now < due:
            waited, wait = format_duration(round(self._now - since)), format_duration(pool.consolidate_after)
            return TOO_SOON, f"last used {waited} ago, consolidateAfter is {wait}", due
        return EMPTY, f"nothing but daemons on it for {format_duration(round(self._now - since))}", None


def quiet_from(consolidate_after: float | None, since: float) -> float | None:
    """When pods have left a node alone for long enough, in seconds since the epoch; None for never.

    :param consolidate_after: its pool's, in seconds
    :param since: when a pod last came, left or ended there, or when the node began if none did
    """
    return None if consolidate_after is None else since + consolidate_after


def holds(pod: Pod, now: float) -> bool:
    """Whether a pod on a node is a reason to keep the node."""
    if pod.terminal or is_expendable(pod) or pod.owner_kind in ("DaemonSet", "Node"):
        return False
    return not stuck(pod, now)


def as_waiting(pod: Pod, nominations: Mapping[PodUID, str]) -> Pod:
    """A pod without a node as one to be planned, also before kube-scheduler has looked at it.

    What it was promised last counts. It shows that a moment later, and what it shows until then is a promise that was
    dropped, or kube-scheduler's own choice of which no plan knows yet.
    """
    promise = nominations.get(pod.uid, pod.nominated_node)
    return replace(pod, unschedulable=True, nominated_node=pod.nominated_node if promise == pod.nominated_node else "")


def _wanted(snapshot: Snapshot) -> Iterable[str]:
    """Names of the nodes where pods that wait would go; of those that changed their mind, all of them."""
    waiting = [pod for pod in snapshot.pods if not pod.node_name and not is_expendable(pod)]
    seen = (
        *(as_waiting(pod, snapshot.nominations) for pod in waiting),
        *(pod for pod in snapshot.pods if pod.node_name),
    )
    placements = place(replace(snapshot, pods=seen))
    nominated = (pod.nominated_node for pod in waiting if pod.nominated_node not in ("", placements.get(pod.uid)))
    return (*placements.values(), *nominated)


def _within_budgets(verdicts: Iterable[Verdict], snapshot: Snapshot) -> Iterable[Verdict]:
    left = allowances(snapshot, EMPTY)
    for verdict in sorted(verdicts, key=lambda each: (each.since, each.node)):
        if not verdict.removable:
            yield verdict
        elif left[verdict.pool] > 0:
            left[verdict.pool] -= 1
            yield verdict
        else:
            text = f"empty, but the disruption budget of NodePool {verdict.pool} is used up"
            yield replace(verdict, code=BUDGET_EXHAUSTED, text=text)


def _count(pods: Sequence[str]) -> str:
    return f"{len(pods)} pod" if len(pods) == 1 else f"{len(pods)} pods"


def _few(pods: Sequence[str]) -> str:
    shown = ", ".join(sorted(pods)[:3])
    return shown if len(pods) <= 3 else f"{shown} and {len(pods) - 3} more"
