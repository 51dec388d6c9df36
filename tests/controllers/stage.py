"""Where the controller plays: the cluster's objects, the cloud, the kubelets, and the controller itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autonodes.api.nodeclaim import NodeClaim
from autonodes.controllers.program import LEASE_NAME, LEASE_NAMESPACE, ControllerContext, Program
from autonodes.controllers.settings import ControllerSettings
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.kubeconfig import Credentials, load_kubeconfig
from autonodes.kube.resources import EVENTS, LEASES, NODECLAIMS, NODEPOOLS, NODES, PODS, Resource, node_class
from autonodes.provider import Provider
from autonodes.verify.cloud import Cloud
from autonodes.verify.doorman import Doorman
from autonodes.verify.kubelets import Kubelets

CLASS = node_class("LocalNodeClass")

FAST = ControllerSettings(
    batch_idle=0.05,
    batch_max=0.5,
    replan_after=1.0,
    offering_rest=0.5,
    spoiled_after=0.0,
    repair_interval=0.2,
    repair_drain=1.0,
    interruption_poll=0.1,
    collection_grace=0.0,
    disruption_interval=0.5,
    disruption_validation=0.1,
    consolidation_min_age=0.0,
    drift_interval=0.5,
    disruption_apart=0.05,
    termination_poll=0.05,
    drain_settle=0.1,
    eviction_backoff_max=0.5,
)
"""The same program with less patience."""


class Stage:
    def __init__(self, kubeconfig: Path, admin: KubeClient, namespace: str, directory: Path) -> None:
        self.admin, self.namespace = admin, namespace
        self.cloud = Cloud(directory)
        self.kubelets = Kubelets(admin, self.cloud)
        self.doorman = Doorman()
        self.kubeconfig, self.credentials = kubeconfig, load_kubeconfig(kubeconfig)

    @contextlib.asynccontextmanager
    async def controller(
        self,
        *,
        settings: ControllerSettings = FAST,
        credentials: Credentials | None = None,
        provider: Provider | None = None,
        others: Sequence[Cloud] = (),
        **changes: Any,
    ) -> AsyncIterator[Program]:
        """The controller and the kubelets, as long as the block lasts; ``others`` have node classes of other kinds."""
        given = credentials or self.credentials
        async with KubeClient(given) as client:
            program = Program(
                ControllerContext(
                    credentials=given,
                    client=client,
                    providers={
                        "LocalNodeClass": provider or self.cloud,
                        **{each.node_class_kind: each for each in others},
                    },
                    joiner=self.doorman,
                    settings=replace(settings, **changes),
                )
            )
            kubelets = [self.kubelets, *(Kubelets(self.admin, each) for each in others)]
            tasks = [asyncio.create_task(each.run()) for each in (program, *kubelets)]
            try:
                yield program
            finally:
                program.stop()
                for task in tasks[1:]:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    @contextlib.asynccontextmanager
    async def machines(self) -> AsyncIterator[None]:
        """Only the kubelets."""
        task = asyncio.create_task(self.kubelets.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def node_class(self, name: str = "default") -> None:
        await self.admin.apply(CLASS, {"metadata": {"name": name}, "spec": {}}, field_manager="test")

    async def pool(self, name: str = "default", **spec: Any) -> None:
        """A pool that buys anything and gives an empty node back at once."""
        template: dict[str, Any] = {
            "spec": {
                "requirements": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}],
                "nodeClassRef": {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"},
                **spec.pop("template", {}),
            }
        }
        disruption = {"consolidateAfter": "0s", "budgets": [{"nodes": "100%"}], **spec.pop("disruption", {})}
        body = {"metadata": {"name": name}, "spec": {"template": template, "disruption": disruption, **spec}}
        await self.admin.apply(NODEPOOLS, body, field_manager="test")

    async def pod(self, name: str, *, cpu: str = "500m", **spec: Any) -> None:
        labels = spec.pop("labels", {"app": name})
        annotations = spec.pop("annotations", {})
        container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu}}}
        body = {
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"containers": [container], **spec},
        }
        await self.admin.create(PODS, body, self.namespace)

    async def delete_pod(self, name: str) -> None:
        await self.admin.delete(PODS, name, self.namespace)

    async def phase(self, name: str) -> str:
        return str((await self.admin.get(PODS, name, self.namespace))["status"].get("phase"))

    async def phase_or_gone(self, name: str) -> str:
        """ "" when there is no such pod."""
        try:
            return await self.phase(name)
        except NotFoundError:
            return ""

    async def claims(self) -> list[NodeClaim]:
        return [NodeClaim.from_api(body) for body in await self.admin.list(NODECLAIMS)]

    async def nodes(self) -> list[dict[str, Any]]:
        return await self.admin.list(NODES)

    async def events(self, name: str) -> set[str]:
        """Reasons of the events about an object of this name."""
        return {event["reason"] for event in await self._events(name)}

    async def messages(self, name: str) -> set[str]:
        """What the events about an object of this name say."""
        return {event["message"] for event in await self._events(name)}

    async def _events(self, name: str) -> list[dict[str, Any]]:
        return await self.admin.list(EVENTS, field_selector=f"involvedObject.name={name}")

    async def until(self, what: str, condition: Callable[[], Any], *, seconds: float = 60) -> Any:
        """Wait until the (perhaps asynchronous) condition is true; a failed test should not hang."""
        found: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = condition()
                    if asyncio.iscoroutine(found):
                        found = await found
                    if found:
                        return found
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not after {seconds:.0f} s: {what}; {await self._scene()}") from None

    async def _scene(self) -> str:
        claims = [
            (
                claim.name,
                [f"{each.type}={each.status} {each.reason} {each.message}" for each in claim.status.conditions],
            )
            for claim in await self.claims()
        ]
        nodes = [(node["metadata"]["name"], node["spec"].get("taints")) for node in await self.nodes()]
        return f"claims {claims}, nodes {nodes}, machines {self.cloud.records()}"

    async def forget_the_lease(self) -> None:
        """As if that of a controller that has died had run out."""
        with contextlib.suppress(NotFoundError):
            await self.admin.delete(LEASES, LEASE_NAME, LEASE_NAMESPACE)

    async def is_empty(self) -> bool:
        """Neither a claim nor a node nor a machine."""
        return not (await self.claims() or await self.nodes() or self.cloud.records() or self.doorman.given)

    async def sweep(self) -> None:
        """Leave nothing to the next test."""
        for resource in (NODEPOOLS, PODS, NODECLAIMS, NODES, CLASS):
            for body in await self.admin.list(resource):
                await self._remove(resource, body)
        await self.until("everything swept", self._is_swept)

    async def _remove(self, resource: Resource, body: dict[str, Any]) -> None:
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
        with contextlib.suppress(NotFoundError, ConflictError):
            if body["metadata"].get("finalizers"):
                await self.admin.merge_patch(resource, name, {"metadata": {"finalizers": None}}, namespace)
            await self.admin.delete(resource, name, namespace, grace_period=0)

    async def _is_swept(self) -> bool:
        left: Sequence[Any] = [
            *await self.admin.list(NODECLAIMS), *await self.admin.list(NODES), *await self.admin.list(PODS)
        ]  # fmt: skip
        return not left
