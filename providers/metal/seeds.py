"""The seeds of hosts that are to become nodes: a Secret each, so that a controller's successor can boot them too.

A seed holds the host's bootstrap token. It is made from the boot plan when the host is bought and goes when the host is
given back.
"""

from __future__ import annotations

import base64
import json
import shlex
from typing import Final

from autonodes.core import labels
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError, NotFoundError
from autonodes.kube.resources import SECRETS
from autonodes.provider import BootPlan
from providers.metal.hosts import NAMESPACE

LABEL: Final = "autonodes.io/metal-seed"
"""On every seed's Secret; its value is the cluster's name."""
PLAN: Final = "plan"


class Seeds:
    def __init__(self, kube: KubeClient, cluster: str) -> None:
        self._kube, self._cluster = kube, cluster

    async def write(self, claim_uid: str, plan: BootPlan) -> None:
        """Once; what is there already stays."""
        body = {
            "metadata": {
                "name": _name(claim_uid),
                "labels": {LABEL: self._cluster, labels.CLAIM_UID: claim_uid},
            },
            "data": {PLAN: base64.b64encode(encoded(plan)).decode()},
        }
        try:
            await self._kube.create(SECRETS, body, NAMESPACE)
        except AlreadyExistsError:
            return

    async def read(self, claim_uid: str) -> bytes | None:
        """None if it was not written yet."""
        try:
            body = await self._kube.get(SECRETS, _name(claim_uid), NAMESPACE)
        except NotFoundError:
            return None
        return base64.b64decode(body["data"][PLAN])

    async def delete(self, claim_uid: str) -> None:
        """Gone when it returns, whether or not it was there."""
        try:
            await self._kube.delete(SECRETS, _name(claim_uid), NAMESPACE)
        except NotFoundError:
            return


def encoded(plan: BootPlan) -> bytes:
    """A boot plan as JSON: what an image needs to become the node."""
    return json.dumps(
        {
            "nodeName": plan.node_name,
            "files": [
                {"path": each.path, "mode": each.mode, "content": base64.b64encode(each.content).decode()}
                for each in plan.files
            ],
            "processes": [
                {"name": each.name, "argv": each.argv, "env": dict(each.env), "readySocket": each.ready_socket}
                for each in plan.processes
            ],
        }
    ).encode()


def wiping(level: str, report_to: str) -> bytes:
    """The seed of the image that wipes."""
    return f"level={shlex.quote(level)}\nreport_to={shlex.quote(report_to)}\n".encode()


def _name(claim_uid: str) -> str:
    return f"autonodes-metal-seed-{claim_uid}"
