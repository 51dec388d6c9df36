"""The seeds of hosts that are to become nodes: a Secret each, so that a controller's successor can boot them too.

A seed holds the host's bootstrap token. It is made from the boot plan when the host is bought and goes when the host is
given back.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from autonodes import nocloud
from autonodes.core import labels
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError, NotFoundError
from autonodes.kube.resources import SECRETS
from autonodes.provider import BootPlan
from providers.metal.hosts import NAMESPACE

LABEL: Final = "autonodes.io/metal-seed"
"""On every seed's Secret; its value is the cluster's name."""
USER_DATA: Final = "user-data"
META_DATA: Final = "meta-data"


@dataclass(frozen=True, slots=True)
class Seed:
    """What a machine is told, as cloud-init's NoCloud has it: a script, and who it is."""

    user_data: str = field(repr=False)
    meta_data: str

    def volume(self) -> bytes:
        return nocloud.volume(self.user_data, self.meta_data)

    def files(self) -> dict[str, str]:
        """By name."""
        return {USER_DATA: self.user_data, META_DATA: self.meta_data}


class Seeds:
    def __init__(self, kube: KubeClient, cluster: str) -> None:
        self._kube, self._cluster = kube, cluster

    async def write(self, claim_uid: str, plan: BootPlan) -> None:
        """Once; what is there already stays."""
        seed = Seed(nocloud.user_data(plan), nocloud.meta_data(plan.node_name, instance_id=claim_uid))
        body = {
            "metadata": {
                "name": _name(claim_uid),
                "labels": {LABEL: self._cluster, labels.CLAIM_UID: claim_uid},
            },
            "data": {name: base64.b64encode(text.encode()).decode() for name, text in seed.files().items()},
        }
        try:
            await self._kube.create(SECRETS, body, NAMESPACE)
        except AlreadyExistsError:
            return

    async def read(self, claim_uid: str) -> Seed | None:
        """None if it was not written yet."""
        try:
            body = await self._kube.get(SECRETS, _name(claim_uid), NAMESPACE)
        except NotFoundError:
            return None
        return Seed(*(base64.b64decode(body["data"][name]).decode() for name in (USER_DATA, META_DATA)))

    async def delete(self, claim_uid: str) -> None:
        """Gone when it returns, whether or not it was there."""
        try:
            await self._kube.delete(SECRETS, _name(claim_uid), NAMESPACE)
        except NotFoundError:
            return


def wiping(level: str, report_to: str) -> Seed:
    """The seed of the image that wipes."""
    script = resources.files(__package__).joinpath("wipe.sh").read_text()
    settings = f"level={shlex.quote(level)}\nreport_to={shlex.quote(report_to)}\n"
    return Seed(f"#!/bin/sh\n{settings}{script}", nocloud.meta_data("wiping", instance_id=report_to.rpartition("/")[2]))


def _name(claim_uid: str) -> str:
    return f"autonodes-metal-seed-{claim_uid}"
