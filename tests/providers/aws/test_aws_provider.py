"""The provider on an EC2 that misbehaves: what the conformance kit does not ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autonodes.core.errors import EnvironmentFault
from autonodes.core.model import InstanceType, Offering
from autonodes.provider import (
    CreateError,
    InsufficientCapacityError,
    LaunchRequest,
    MachineNotFoundError,
    NodeClassNotReadyError,
    ProviderError,
)
from ec2fake import NODE_CLASS, Ec2Fake
from ec2moto import WRONG_KEY, ZONES
from providers.aws import AwsProvider, machines, tags
from providers.aws.instancetypes import instance_type
from providers.aws.launches import Launches

from .conftest import offers

Open = Callable[..., AwsProvider]
Order = Callable[..., LaunchRequest]

QUEUE = "autonodes-demo"
CHANGING = ("CreateLaunchTemplate", "CreateFleet", "CreateTags", "DeleteLaunchTemplate")


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.moment = time.time()

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += seconds
        await asyncio.sleep(0.01)


class Killed(BaseException):
    """The process ends here."""


def kill(provider: AwsProvider, at: tuple[str, str], dead: asyncio.Event) -> None:
    """Let the process die before or after its first call of that name."""
    moment, operation = at
    real = provider._calls.call

    async def call(service: str, name: str, **arguments: Any) -> Any:
        if dead.is_set():
            raise Killed
        if name == operation and moment == "before":
            dead.set()
            raise Killed
        answer = await real(service, name, **arguments)
        if name == operation:
            dead.set()
            raise Killed
        return answer

    provider._calls.call = call  # type: ignore[method-assign]


@pytest.mark.parametrize("at", [(moment, call) for call in CHANGING for moment in ("before", "after")], ids=" ".join)
async def test_a_process_killed_at_any_step_of_an_order_leaves_it_to_the_next(
    fake: Ec2Fake, opened: Open, order: Order, at: tuple[str, str]
) -> None:
    first, dead = opened(), asyncio.Event()
    candidates = await offers(first, "m5.large")
    requests = [order(candidates) for _ in range(3)]
    kill(first, at, dead)
    callers = [asyncio.create_task(first.create(request)) for request in requests]
    await dead.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    second = opened()
    # another claim comes along: it must not change the order that was begun
    bought = await asyncio.gather(*(second.create(each) for each in (*requests, order(candidates))))
    assert len({each.provider_id for each in bought}) == 4
    assert len(fake.living()) == 4
    assert sorted(each.claim_uid for each in await second.list()) == sorted(each.claim_uid for each in bought)
    assert fake.ec2.describe_launch_templates()["LaunchTemplates"] == []


async def test_an_order_that_nobody_comes_back_to_is_known_a_minute_later(
    fake: Ec2Fake, opened: Open, order: Order, tmp_path: Path
) -> None:
    clock = Time()
    first, dead = opened(clock), asyncio.Event()
    request = order(await offers(first, "m5.large"))
    kill(first, ("after", "CreateFleet"), dead)
    caller = asyncio.create_task(first.create(request))
    await dead.wait()
    caller.cancel()
    second = opened(clock)
    with pytest.raises(ProviderError, match="not known yet"):
        await second.list()
    clock.moment += 60
    (machine,) = await second.list()
    assert machine.claim_uid == request.claim_uid
    assert fake.ec2.describe_launch_templates()["LaunchTemplates"] == []
    assert Launches(tmp_path / "aws/launches").all() == []


async def test_a_machine_that_is_not_shown_yet_is_listed_found_and_deleted(
    fake: Ec2Fake, opened: Open, order: Order
) -> None:
    provider = opened()
    fake.shows_after = 3
    machine = await provider.create(order(await offers(provider, "m5.large")))
    assert [each.provider_id for each in await provider.list()] == [machine.provider_id]
    assert (await provider.get(machine.provider_id)).state == "pending"
    for _ in range(10):
        with contextlib.suppress(MachineNotFoundError):
            await provider.delete(machine.provider_id)
            continue
        break
    assert fake.living() == []
    assert await provider.list() == []


async def test_machines_are_found_by_their_tags_when_the_state_is_lost(
    fake: Ec2Fake, opened: Open, order: Order, tmp_path: Path
) -> None:
    first = opened()
    requests = [order(await offers(first, "m5.large")) for _ in range(2)]
    bought = await asyncio.gather(*map(first.create, requests))
    for path in (tmp_path / "aws/launches").glob("*.json"):
        path.unlink()
    second = opened()
    again = await asyncio.gather(*map(second.create, requests))
    assert [each.provider_id for each in again] == [each.provider_id for each in bought]
    assert len(fake.living()) == 2


async def test_who_gets_nothing_of_an_order_gets_it_of_the_next_best(fake: Ec2Fake, opened: Open, order: Order) -> None:
    provider = opened()
    spot = await offers(provider, "m5.large", capacity_type="spot")
    demand = await offers(provider, "m5.large")
    fake.sold_out |= {("m5.large", zone, "spot") for zone in ZONES[1:]}
    fake.stock["m5.large", ZONES[0], "spot"] = 2
    bought = await asyncio.gather(*(provider.create(order((*spot, *demand))) for _ in range(3)))
    assert sorted(each.capacity_type for each in bought) == ["on-demand", "spot", "spot"]
    assert len({each.claim_uid for each in bought}) == 3


async def test_who_gets_nothing_at_all_is_told_and_the_others_have_theirs(
    fake: Ec2Fake, opened: Open, order: Order
) -> None:
    provider = opened()
    candidates = [each for each in await offers(provider, "m5.large") if each[1].zone == ZONES[0]]
    fake.stock["m5.large", ZONES[0], "on-demand"] = 2
    requests = [order(tuple(candidates)) for _ in range(3)]
    answers = await asyncio.gather(*map(provider.create, requests), return_exceptions=True)
    (short,) = (each for each in answers if isinstance(each, BaseException))
    assert isinstance(short, InsufficientCapacityError)
    assert short.offerings == (("m5.large", ZONES[0], "on-demand"),)
    assert len(fake.living()) == len(await provider.list()) == 2
    types = {each.name: each for each in await provider.instance_types(NODE_CLASS)}
    resting = {(of.zone, of.capacity_type) for of in types["m5.large"].offerings if not of.available}
    assert resting == {(ZONES[0], "on-demand")}


async def test_wrong_credentials_are_the_node_classs_fault_and_nobody_elses(
    fake: Ec2Fake, opened: Open, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = await offers(opened(), "m5.large")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", WRONG_KEY)
    provider = opened()
    with pytest.raises(NodeClassNotReadyError, match="AWS refuses the credentials"):
        await provider.validate(NODE_CLASS)
    with pytest.raises(ProviderError):
        await provider.create(order(candidates))
    with pytest.raises(ProviderError) as raised:
        await provider.list()
    assert not isinstance(raised.value, NodeClassNotReadyError)
    assert fake.living() == []


async def test_a_missing_permission_is_named(fake: Ec2Fake, opened: Open, order: Order) -> None:
    provider = opened()
    candidates = await offers(provider, "m5.large")
    fake.denied = {"CreateFleet"}
    with pytest.raises(NodeClassNotReadyError, match="CreateFleet"):
        await provider.create(order(candidates))
    assert fake.living() == []
    assert fake.ec2.describe_launch_templates()["LaunchTemplates"] == []


async def test_an_unknown_type_is_not_bought_and_the_next_candidate_is(
    fake: Ec2Fake, opened: Open, order: Order
) -> None:
    provider = opened()
    known = await offers(provider, "m5.large")
    offering = Offering(zone=ZONES[0], capacity_type="on-demand", price=0.001)
    row = provider._markets._market.types["m5.large"]  # type: ignore[union-attr]
    unknown: tuple[InstanceType, Offering] = (instance_type("m9.none", row, "us-east-1", (offering,)), offering)
    machine = await provider.create(order((unknown, *known)))
    assert machine.instance_type == "m5.large"
    with pytest.raises((InsufficientCapacityError, CreateError)):
        await provider.create(order((unknown,)))
    assert len(fake.living()) == 1


async def test_a_machine_is_made_of_what_its_node_class_says(fake: Ec2Fake, opened: Open, order: Order) -> None:
    spec = NODE_CLASS["spec"] | {
        "tags": {"team": "a"},
        "tenancy": "dedicated",
        "placementGroup": "near",
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "rootVolume": True, "ebs": {"volumeSize": "50Gi"}}],
        "metadataOptions": {"httpPutResponseHopLimit": 2},
        "maxPods": 110,
    }
    fake.placement_groups.add("near")
    node_class = {"metadata": {"name": "aws"}, "spec": spec}
    provider = opened()
    await provider.validate(node_class)
    offered = {each.name: each for each in await provider.instance_types(node_class)}["m5.large"]
    assert {each.capacity_type for each in offered.offerings} == {"on-demand"}
    assert offered.offerings[0].price == pytest.approx(0.096 * 1.06)
    assert (offered.capacity["pods"], offered.capacity["ephemeral-storage"]) == (110, 50 * 2**30)
    machine = await provider.create(order(((offered, offered.offerings[0]),), node_class=node_class))
    assert machine.capacity == offered.capacity
    (made,) = fake.living()
    marks = {each["Key"]: each["Value"] for each in made["Tags"]}
    assert marks["team"] == "a"
    assert tags.claim_of(made["InstanceId"], marks) == (machine.claim_uid, machine.claim_name)
    assert made["IamInstanceProfile"]["Arn"].endswith("instance-profile/autonodes-demo-node")
    (template,) = (each.parameters for each in fake.calls if each.action == "CreateLaunchTemplate")
    told = {key.removeprefix("LaunchTemplateData."): value for key, value in template.items()}
    assert told["MetadataOptions.HttpTokens"] == "required"
    assert told["MetadataOptions.HttpPutResponseHopLimit"] == "2"
    assert told["MetadataOptions.InstanceMetadataTags"] == "enabled"
    assert (told["Placement.GroupName"], told["Placement.Tenancy"]) == ("near", "dedicated")
    assert told["BlockDeviceMapping.1.Ebs.VolumeSize"] == "50"
    assert (await provider.get(machine.provider_id)).capacity == offered.capacity


async def test_reserved_capacity_is_almost_free_and_counted(fake: Ec2Fake, opened: Open, order: Order) -> None:
    fake.reservations = [{"capacityReservationId": "cr-1", "instanceType": "m5.large", "availabilityZone": ZONES[1],
                          "availableInstanceCount": 2, "state": "active"}]  # fmt: skip
    node_class = {"metadata": {"name": "aws"},
                  "spec": NODE_CLASS["spec"] | {"capacityReservationSelectorTerms": [{"id": "cr-1"}]}}  # fmt: skip
    provider = opened()
    offered = {each.name: each for each in await provider.instance_types(node_class)}["m5.large"]
    (reserved,) = (each for each in offered.offerings if each.capacity_type == "reserved")
    assert (reserved.zone, reserved.count, reserved.reservation) == (ZONES[1], 2, "cr-1")
    assert reserved.price is not None
    assert 0 < reserved.price < 1e-6
    machine = await provider.create(order(((offered, reserved),), node_class=node_class))
    assert (machine.capacity_type, machine.zone) == ("reserved", ZONES[1])
    assert (await provider.get(machine.provider_id)).capacity_type == "reserved"
    (template,) = (each.parameters for each in fake.calls if each.action == "CreateLaunchTemplate")
    target = "LaunchTemplateData.CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
    assert template[target] == "cr-1"


async def test_calls_of_the_same_time_become_few(fake: Ec2Fake, opened: Open, order: Order) -> None:
    provider = opened()
    candidates = await offers(provider, "m5.large")
    bought = await asyncio.gather(*(provider.create(order(candidates)) for _ in range(20)))
    assert [fake.actions().count(each) for each in CHANGING] == [1, 1, 1, 1]
    before = len(fake.calls)
    await asyncio.gather(*(provider.get(each.provider_id) for each in bought))
    await asyncio.gather(*(provider.delete(each.provider_id) for each in bought))
    done = [each.action for each in fake.calls[before:]]
    assert done == ["DescribeInstances", "DescribeInstances", "TerminateInstances"]
    assert fake.living() == []


async def test_a_notice_is_acknowledged_when_its_machine_is_gone_and_not_before(
    fake: Ec2Fake, opened: Open, order: Order
) -> None:
    sqs, clock = fake.moto.client("sqs"), Time()
    url = sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    provider = opened(clock, queue=QUEUE)
    machine = await provider.create(order(await offers(provider, "m5.large")))
    event = {"detail-type": "EC2 Instance Rebalance Recommendation",
             "detail": {"instance-id": machines.instance_id(machine.provider_id)}}  # fmt: skip
    for body in (json.dumps(event), "{", json.dumps({"detail-type": "EC2 Spot Instance Interruption Warning"})):
        sqs.send_message(QueueUrl=url, MessageBody=body)

    def left() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    (notice,) = await provider.interruptions()
    assert (notice.provider_id, notice.kind) == (machine.provider_id, "spot")
    assert left() == 1  # what can't be read is dropped
    await opened(clock, queue=QUEUE).interruptions()
    assert left() == 1
    with contextlib.suppress(MachineNotFoundError):
        await provider.delete(machine.provider_id)
    assert await provider.interruptions() == []
    assert left() == 1  # a list may lag behind; the machine could be one that is not shown yet
    clock.moment += 400
    await provider.interruptions()
    assert left() == 0


async def test_a_recommendation_can_be_ignored(fake: Ec2Fake, opened: Open, order: Order) -> None:
    sqs = fake.moto.client("sqs")
    url = sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    provider = opened(queue=QUEUE, rebalance="ignore")
    machine = await provider.create(order(await offers(provider, "m5.large")))
    event = {"detail-type": "EC2 Instance Rebalance Recommendation",
             "detail": {"instance-id": machines.instance_id(machine.provider_id)}}  # fmt: skip
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
    assert list(await provider.interruptions()) == []


async def test_properties_are_checked(opened: Open) -> None:
    for options, words in (({"regoin": "x"}, "did you mean region"), ({"batch": "51"}, "1 to 50"),
                           ({"rebalance": "no"}, "act or ignore")):  # fmt: skip
        with pytest.raises(EnvironmentFault, match=words):
            opened(**options)
