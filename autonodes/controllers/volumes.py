"""Which volumes still hang on a node.

A machine must not go while the storage system counts a volume as attached to it: the next pod would wait for minutes
until the attachment is given up by force. The attach-detach controller detaches when the pods are gone; here is only
looked. Volumes of pods that stay to the end (static ones, those that tolerate the drain) are not waited for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from autonodes.kube.client import KubeClient
from autonodes.kube.errors import NotFoundError
from autonodes.kube.resources import PODS, PVCS, VOLUMEATTACHMENTS


class Volumes:
    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def attached(self, node_name: str, *, staying: Collection[str]) -> tuple[str, ...]:
        """Names of the PersistentVolumes that are still attached and ought not to be.

        :param staying: ``namespace/name`` of the node's pods that stay to the end
        :raises ApiError: it can't be known
        """
        attached = {
            attachment["spec"]["source"].get("persistentVolumeName") or attachment["metadata"]["name"]
            for attachment in await self._client.list(VOLUMEATTACHMENTS)
            if attachment["spec"]["nodeName"] == node_name
        }
        if attached and staying:
            attached -= await self._of_pods(node_name, staying)
        return tuple(sorted(attached))

    async def _of_pods(self, node_name: str, keys: Collection[str]) -> set[str]:
        pods = await self._client.list(PODS, field_selector=f"spec.nodeName={node_name}")
        claims = {
            (pod["metadata"]["namespace"], claim)
            for pod in pods
            if f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" in keys
            for claim in _claims_of(pod)
        }
        return {volume for namespace, claim in claims if (volume := await self._volume(namespace, claim))}

    async def _volume(self, namespace: str, claim: str) -> str:
        try:
            bound = await self._client.get(PVCS, claim, namespace)
        except NotFoundError:
            return ""
        return str(bound["spec"].get("volumeName") or "")


def _claims_of(pod: dict[str, Any]) -> list[str]:
    """Names of the PersistentVolumeClaims of a pod, those of ephemeral volumes included (KEP-1698)."""
    names = []
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            names.append(claim["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{pod['metadata']['name']}-{volume['name']}")
    return names
