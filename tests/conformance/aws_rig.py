"""The AWS provider on an EC2 that misbehaves (`ec2fake`)."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
import types
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autonodes.conformance import DriftCase, Fault, Rig
from autonodes.provider import Machine, ProviderContext
from ec2fake import NODE_CLASS, Ec2Fake
from ec2moto import KEY, REGION, SECRET_KEY
from providers.aws import AwsProvider, machines, tags

CLUSTER, STRANGER = "demo", "another"
_PAGE = 5
_TRIES = 4
"""Of botocore, for one call."""


class AwsRig(Rig):
    without: ClassVar = {Fault.BOOT_DATA: "a machine fills in what it boots with itself; a test of its own runs that"}
    secrets = (SECRET_KEY,)

    def __init__(self, fake: Ec2Fake, directory: Path) -> None:
        self.fake, self._directory = fake, directory
        self.cluster = CLUSTER
        self._slept: list[float] = []
        self._opened: list[AwsProvider] = []
        self._queue = fake.moto.client("sqs")
        made = self._queue.create_queue(QueueName=f"autonodes-{CLUSTER}", Attributes={"VisibilityTimeout": "0"})
        self._queue_url = made["QueueUrl"]
        self._other_image = fake.ec2.register_image(Name="other", RootDeviceName="/dev/xvda")["ImageId"]
        described = {"GroupName": "others", "Description": "others", "VpcId": fake.vpc}
        self._other_group = fake.ec2.create_security_group(**described)["GroupId"]
        fake.page = _PAGE
        self._provider = self._new(self.cluster, directory)

    def _new(self, cluster: str, directory: Path) -> AwsProvider:
        context = ProviderContext(
            cluster=cluster,
            state_dir=directory,
            component_dirs=(),
            images=(),
            uplink="100.64.0.0/30",
            kube=None,  # type: ignore[arg-type]  # this provider does not ask it
            options={"region": REGION, "endpoint": self.fake.url, "queue": f"autonodes-{cluster}"},
        )
        self._opened.append(AwsProvider(context))
        return self._opened[-1]

    def pause(self, seconds: float) -> None:
        """In place of botocore's sleep."""
        self._slept.append(seconds)

    async def close(self) -> None:
        for each in self._opened:
            await each.close()

    @property
    def provider(self) -> AwsProvider:
        return self._provider

    @property
    def node_class(self) -> Mapping[str, Any]:
        return NODE_CLASS

    async def restart(self) -> AwsProvider:
        self._provider = self._new(self.cluster, self._directory)
        await self._provider.start()
        return self._provider

    async def stranger(self) -> AwsProvider:
        directory = self._directory / "another"
        shutil.copytree(self._directory / "aws", directory / "aws", ignore=shutil.ignore_patterns("launches"))
        return self._new(STRANGER, directory)

    async def count(self, claim_uid: str) -> int:
        found = [tags.claim_of(each["InstanceId"], marks_of(each)) for each in self.fake.living()]
        return len([claim for claim in found if claim and claim[0] == claim_uid])

    async def leftovers(self) -> Sequence[str]:
        templates = self.fake.ec2.describe_launch_templates()["LaunchTemplates"]
        mine = [each["InstanceId"] for each in self.fake.living() if marks_of(each).get(tags.CLUSTER) == self.cluster]
        return mine + [each["LaunchTemplateName"] for each in templates]

    async def tags(self, machine: Machine) -> Mapping[str, str]:
        id_ = machines.instance_id(machine.provider_id)
        (found,) = (marks_of(each) for each in self.fake.living() if each["InstanceId"] == id_)
        claim = tags.claim_of(id_, found)
        assert claim is not None
        return {
            "cluster": found[tags.CLUSTER],
            "claim-uid": claim[0],
            "claim": claim[1],
            "nodepool": found[tags.NODE_POOL],
        }

    def unusable(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        nowhere = [{"tags": {"autonodes:discovery": "nowhere"}}]
        return (
            (with_spec(subnetSelectorTerms=nowhere), "spec.subnetSelectorTerms: no subnet"),
            (with_spec(amiSelectorTerms=nowhere), "spec.amiSelectorTerms: no available image"),
            (with_spec(securityGroupSelectorTerms=[{"id": "sg-0"}]), "spec.securityGroupSelectorTerms"),
            (with_spec(role="nobody"), "spec.role: 'nobody'"),
            (with_spec(placementGroup="nowhere"), "spec.placementGroup: 'nowhere'"),
            (with_spec(tenancy="mine"), "spec.tenancy"),
        )

    def drifts(self) -> Sequence[DriftCase]:
        return (
            DriftCase(node_class=with_spec(userData="#!/bin/sh\n"), reason="NodeClassDrift"),
            DriftCase(node_class=with_spec(amiSelectorTerms=[{"id": self._other_image}]), reason="AMIDrift"),
            DriftCase(
                node_class=with_spec(securityGroupSelectorTerms=[{"id": self._other_group}]),
                reason="SecurityGroupDrift",
            ),
        )

    async def sell_out(self, offerings: Sequence[tuple[str, str, str]]) -> None:
        self.fake.sold_out |= set(offerings)

    async def lose_answer(self) -> None:
        self.fake.lost.add("CreateFleet")

    async def throttle(self, requests: int) -> None:
        self._slept.clear()
        self.fake.throttled = requests

    def pauses(self) -> Sequence[float]:
        return self._slept

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.fake.is_down = True
        try:
            yield
        finally:
            self.fake.is_down = False

    async def break_list(self) -> None:
        self.fake.broken_lists = _TRIES

    async def announce_loss(self, machine: Machine) -> None:
        event = spot_warning(machines.instance_id(machine.provider_id))
        self._queue.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(event))


def with_spec(**changes: Any) -> dict[str, Any]:
    """The fake account's node class, changed."""
    changed = copy.deepcopy(NODE_CLASS)
    changed["spec"] |= changes
    return changed


def marks_of(instance: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in instance.get("Tags", ())}


def spot_warning(instance_id: str) -> dict[str, Any]:
    """As EventBridge sends it."""
    return {
        "version": "0",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2",
        "time": "2026-01-31T12:00:00Z",
        "region": REGION,
        "detail": {"instance-id": instance_id, "instance-action": "terminate"},
    }


@contextlib.asynccontextmanager
async def aws_rig(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[AwsRig]:
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setenv("AWS_ACCESS_KEY_ID", KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    market: Path = request.getfixturevalue("market")
    (directory / "aws").mkdir()
    shutil.copy(market, directory / "aws/market.json")
    fake = Ec2Fake(request.getfixturevalue("moto"), clusters=(CLUSTER, STRANGER))
    rig = AwsRig(fake, directory)
    patch.setattr("botocore.endpoint.time", types.SimpleNamespace(sleep=rig.pause, time=time.time))
    try:
        await rig.provider.start()
        yield rig
    finally:
        await rig.close()
        fake.close()
    beyond = [each for each in fake.forbidden if "role/nobody " not in each]
    assert beyond == [], "the policy in docs/aws.md does not allow what was called"
