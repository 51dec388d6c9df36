"""Carrying out what was decided about nodes: taint, replacements, wait, delete; or roll back.

In this order, and nothing of it only in memory:

1. The nodes are tainted, so that nothing new is scheduled there, and the API server itself is asked for their pods: a
   pod that nobody counted ends the command.
2. The replacements are written as claims that carry the whole command (`replacements`).
3. When all of them are initialized, the old claims are deleted, which drains them. Pods find the new nodes ready.

A command of which a replacement is missing (its launch failed, or the process died while writing them), or that takes
too long, is rolled back: replacements that are not initialized yet are given back, initialized ones are left to
emptiness. A node that is tainted and in no command is released; so whatever a dead process left is picked up from the
claims and nodes alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from autonodes.api.nodeclaim import DISRUPTION_REASON, INITIALIZED, NodeClaim
from autonodes.controllers.claims import Claims, Mark, deleted_at
from autonodes.controllers.draining import DISRUPTED
from autonodes.controllers.freeze import Freeze
from autonodes.controllers.nodes import Nodes
from autonodes.controllers.providers import GROUP
from autonodes.controllers.purchasing import Purchasing
from autonodes.controllers.replacements import Underway, annotation, underway
from autonodes.controllers.settings import ControllerSettings
from autonodes.core.clock import Clock
from autonodes.core.disruption import Command
from autonodes.core.model import Node, Snapshot
from autonodes.core.simulation import moves
from autonodes.kube.cluster import ClusterState
from autonodes.kube.errors import ApiError, ConflictError

log = logging.getLogger(__name__)


class Commands:
    def __init__(
        self,
        state: ClusterState,
        claims: Claims,
        nodes: Nodes,
        purchasing: Purchasing,
        freeze: Freeze,
        *,
        clock: Clock,
        settings: ControllerSettings,
    ) -> None:
        self._state, self._claims, self._nodes, self._purchasing = state, claims, nodes, purchasing
        self._freeze, self._clock, self._settings = freeze, clock, settings
        self._deleted: dict[str, str] = {}

    @property
    def is_behind(self) -> bool:
        """Whether the cache does not show yet what was deleted: budgets count what is being deleted."""
        self._deleted = {uid: name for uid, name in self._deleted.items() if self._present(name, uid) is not None}
        return bool(self._deleted)

    def busy(self) -> frozenset[str]:
        """Names of the claims that are part of a command under way."""
        names: set[str] = set()
        for command in self._live():
            names.update(self._left(command))
            names.update(each.name for each in command.replacements)
        return frozenset(names)

    def _live(self) -> list[Underway]:
        found = underway(self._state.nodeclaims.items.values())
        return [each for each in found if self._left(each) and each.is_complete and not self._is_late(each)]

    def _left(self, command: Underway) -> Mapping[str, NodeClaim]:
        """The claims that are still to go, by name."""
        present = {name: self._present(name, uid) for name, uid in command.goes.items()}
        return {name: claim for name, claim in present.items() if claim is not None}

    def _present(self, name: str, uid: str) -> NodeClaim | None:
        claim = self._state.nodeclaims.get(name)
        return claim if claim is not None and claim.metadata.uid == uid and deleted_at(claim) is None else None

    def _is_late(self, command: Underway) -> bool:
        deadline = command.since + self._settings.replacement_deadline
        return not command.is_ready and self._clock.now() >= deadline

    async def advance(self) -> None:
        """Go on with the commands under way, and release what is in none.

        :raises AutonodesError: not now
        """
        self._freeze.check()
        for command in underway(self._state.nodeclaims.items.values()):
            left = self._left(command)
            if not left:
                continue
            if command.is_ready:
                for claim in left.values():
                    if claim.metadata.uid not in self._deleted:
                        text = f"replaced by {', '.join(each.name for each in command.replacements)}"
                        self._claims.decisions.ending(claim.name, command.reason, text)
                        await self._delete(claim, command.reason, text)
            elif not command.is_complete or self._is_late(command):
                await self._roll_back(command)
        await self._release()

    async def _roll_back(self, command: Underway) -> None:
        for claim in command.replacements:
            if not claim.condition(INITIALIZED):
                log.warning("command %s is rolled back: %s is given back", command.id, claim.name)
                await self._claims.end(claim, "DisruptionRolledBack", "what it was to replace stays")

    async def _release(self) -> None:
        """Nodes that are tainted, and in no command."""
        busy = self.busy()
        for node in tuple(self._state.nodes.items.values()):
            claim = self._state.nodeclaims.get(node.name)
            if DISRUPTED not in node.taints or claim is None or claim.spec.node_class_ref.group != GROUP:
                continue
            if claim.name not in busy and claim.metadata.uid not in self._deleted:
                await self._untaint(claim)

    async def _untaint(self, claim: NodeClaim) -> None:
        fresh = await self._claims.get(claim.name, claim.metadata.uid)
        if fresh is not None and deleted_at(fresh) is None:
            log.info("node %s stays: its taint is taken off", claim.name)
            if fresh.condition(DISRUPTION_REASON):
                await self._claims.mark(fresh, Mark(DISRUPTION_REASON, "False", "Kept"))
            await self._nodes.uncordon(claim.name)

    async def start(self, command: Command, snapshot: Snapshot, counted: set[str]) -> bool:
        """Begin with a command that was decided on this snapshot.

        :param counted: names of the claims that the decision has counted; the replacements' are added, so that those
            of one command don't put the next one of the same decision out of date
        :return: whether it was begun
        :raises AutonodesError: not now; what was tainted is released by the next `advance`
        """
        self._freeze.check()
        claims = [claim for name in command.claims if (claim := self._state.nodeclaims.get(name)) is not None]
        nodes = [node for name in command.candidates if (node := self._state.nodes.get(name)) is not None]
        if len(claims) < len(command.claims) or len(nodes) < len(command.candidates):
            return False
        try:
            for node in nodes:
                await self._nodes.cordon(node)
            if reason := await self._kept_after_all(claims, nodes, command):
                log.info("%s stay: %s", ", ".join(command.candidates), reason)
                for node in nodes:
                    await self._nodes.uncordon(node.name)
                return False
            self._freeze.check()
            if command.replacements:
                return await self._replace(command, claims, snapshot, counted)
            for claim in claims:
                await self._delete(claim, command.reason, "nothing has to come first")
        except ConflictError:
            log.info("%s changed meanwhile: they are looked at again", ", ".join(command.candidates))
            return False
        return True

    async def _kept_after_all(self, claims: list[NodeClaim], nodes: list[Node], command: Command) -> str:
        """Why the nodes must stay, by what the API server says now; "" if they may go."""
        for claim in claims:
            fresh = await self._claims.get(claim.name, claim.metadata.uid)
            if fresh is None or deleted_at(fresh) is not None:
                return f"{claim.name} goes already"
        now = self._clock.now()
        for node in nodes:
            pods = await self._nodes.pods_now(node.name)
            new = [pod.key for pod in pods if moves(pod, now) and pod.uid not in command.pods]
            if new:
                return f"pods came to {node.name}: {', '.join(new[:3])}"
        return ""

    async def _replace(self, command: Command, claims: list[NodeClaim], snapshot: Snapshot, counted: set[str]) -> bool:
        goes = {claim.name: claim.metadata.uid for claim in claims}
        told = annotation(
            id=f"{command.claims[0]}@{int(snapshot.now)}",
            reason=command.reason,
            count=len(command.replacements),
            goes=goes,
        )
        purchases = tuple(replace(each, annotations=told) for each in command.replacements)
        written = set((await self._purchasing.write(purchases, snapshot, counted=counted)).values())
        log.info(
            "%s: %s will be replaced by %s, saving $%.4f/h",
            command.reason, ", ".join(command.candidates), ", ".join(sorted(written)), command.saved,
        )  # fmt: skip
        for claim in claims:
            self._claims.report(claim, "DisruptionLaunching", f"Launching NodeClaim(s): {', '.join(sorted(written))}")
        return len(written) == len(purchases)

    async def _delete(self, claim: NodeClaim, reason: str, text: str) -> None:
        log.info("node %s is given back: %s: %s", claim.name, reason, text)
        fresh = await self._claims.get(claim.name, claim.metadata.uid)
        if fresh is None or deleted_at(fresh) is not None:
            return
        fresh = await self._claims.mark(fresh, Mark(DISRUPTION_REASON, "True", reason, text))
        self._deleted[fresh.metadata.uid] = fresh.name
        self._claims.report(fresh, "DisruptionTerminating", f"Disrupting NodeClaim: {reason}")
        if (node := self._state.nodes.get(claim.name)) is not None:
            self._nodes.report(node, "DisruptionTerminating", f"Disrupting Node: {reason}")
        try:
            await self._claims.delete(fresh)
        except ApiError:
            del self._deleted[fresh.metadata.uid]
            raise
