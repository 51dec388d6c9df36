"""The policy in docs/aws.md allows what the provider calls, and nothing else.

The fake refuses what the policy does not allow, so all tests of this provider and its conformance suite run under it
(and fail if anything was refused); here it is asked for everything that it allows, and for what it must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from autonodes.provider import LaunchRequest, MachineNotFoundError
from ec2fake import NODE_CLASS, Ec2Fake
from ec2moto import KEY, REGION, SECRET_KEY, ZONES
from ec2policy import Policy
from providers.aws import AwsProvider
from providers.aws.calls import session
from providers.aws.tags import CLUSTER, MACHINES

from .conftest import offers

QUEUE = "autonodes-demo"


def everything(fake: Ec2Fake) -> dict[str, Any]:
    """A node class that uses all that there is."""
    volume = fake.ec2.create_volume(AvailabilityZone=ZONES[0], Size=10)["VolumeId"]
    snapshot = fake.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    node_class = copy.deepcopy(NODE_CLASS)
    node_class["spec"] |= {
        "placementGroup": "near",
        "capacityReservationSelectorTerms": [{"id": "cr-1"}],
        "blockDeviceMappings": [
            {"deviceName": "/dev/xvda", "rootVolume": True, "ebs": {"volumeSize": "50Gi", "snapshotID": snapshot}}
        ],
    }
    return node_class


async def test_a_life_under_the_policy_needs_every_bit_of_it(
    fake: Ec2Fake, opened: Callable[..., AwsProvider], order: Callable[..., LaunchRequest], tmp_path: Path
) -> None:
    fake.placement_groups.add("near")
    fake.reservations = [{"capacityReservationId": "cr-1", "instanceType": "m5.large", "availabilityZone": ZONES[0],
                          "availableInstanceCount": 2, "state": "active"}]  # fmt: skip
    queue = fake.moto.client("sqs").create_queue(QueueName=QUEUE)["QueueUrl"]
    fake.moto.client("sqs").send_message(QueueUrl=queue, MessageBody="not for us")
    (tmp_path / "aws/market.json").unlink()
    fake.moto.instance_types()  # takes longer on a busy machine than anybody waits for an answer
    provider = opened(queue=QUEUE)
    node_class = everything(fake)
    await provider.validate(node_class)
    for capacity_type in ("on-demand", "spot", "reserved"):
        found = await offers(provider, "m5.large", capacity_type=capacity_type, node_class=node_class)
        bought = await asyncio.gather(*(provider.create(order(found, node_class=node_class)) for _ in range(2)))
        assert {each.capacity_type for each in bought} == {capacity_type}
        await provider.interruptions()
        for each in bought:
            with contextlib.suppress(MachineNotFoundError):
                await provider.delete(each.provider_id)
    assert fake.living() == []
    assert fake.policies is not None
    (policy,) = fake.policies
    assert policy.granted == policy.grants()


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("terminate_instances", {"InstanceIds": ["{theirs}"]}),
        ("create_tags", {"Resources": ["{theirs}"], "Tags": [{"Key": CLUSTER, "Value": "demo"}]}),
        ("create_tags", {"Resources": ["{theirs}"], "Tags": [{"Key": f"{MACHINES}00", "Value": "x"}]}),
        ("create_tags", {"Resources": ["{ours}"], "Tags": [{"Key": CLUSTER, "Value": "other"}]}),
        ("delete_launch_template", {"LaunchTemplateName": "theirs"}),
        ("create_launch_template", {"LaunchTemplateName": "untagged", "LaunchTemplateData": {"ImageId": "ami-1"}}),
        ("run_instances", {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1}),
        ("stop_instances", {"InstanceIds": ["{ours}"]}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_is_not_the_clusters_can_be_neither_changed_nor_deleted_nor_made(
    fake: Ec2Fake,
    opened: Callable[..., AwsProvider],
    order: Callable[..., LaunchRequest],
    operation: str,
    arguments: dict[str, Any],
) -> None:
    provider = opened()
    ours = (await provider.create(order(await offers(provider, "m5.large")))).provider_id.rpartition("/")[2]
    theirs = fake.ec2.run_instances(ImageId=fake.images["x86_64"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    fake.ec2.create_launch_template(LaunchTemplateName="theirs", LaunchTemplateData={"ImageId": "ami-1"})
    client = session(REGION).client(
        "ec2", endpoint_url=fake.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET_KEY
    )
    told = json.loads(json.dumps(arguments).replace("{ours}", ours).replace("{theirs}", theirs))
    with pytest.raises(ClientError, match="You are not authorized"):
        getattr(client, operation)(**told)
    assert {each["InstanceId"] for each in fake.living()} == {ours, theirs}
    fake.forbidden.clear()


def test_no_statement_allows_by_pattern() -> None:
    assert not [each for each in Policy("demo").statements if "*" in json.dumps(each["Action"])]


def test_what_changes_or_deletes_is_bound_to_the_clusters_tag_or_name() -> None:
    for statement in Policy("demo").statements:
        actions = re.findall(r"[a-z0-9]+:[A-Za-z]+", json.dumps(statement["Action"]))
        reads = all(re.search(r":(Describe|Get|Receive)", each) for each in actions)
        if reads or statement["Sid"] == "BuyFromWhatIsThere":
            continue
        shown = json.dumps([statement.get("Condition", {}), statement["Resource"]])
        assert CLUSTER in shown or "demo" in shown or "role/node" in shown, statement["Sid"]


@given(st.integers(0, 60))
def test_the_keys_by_which_machines_are_assigned_are_those_allowed(number: int) -> None:
    (statement,) = (each for each in Policy("demo").statements if each["Sid"] == "SayWhoseAMachineIs")
    pattern = statement["Condition"]["ForAllValues:StringLike"]["aws:TagKeys"]
    assert f"{MACHINES}{number:02}".startswith(pattern.rstrip("*"))
