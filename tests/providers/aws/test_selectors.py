"""What a node class's terms stand for in the account, and that what they stand for no longer has drifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autonodes.provider import LaunchRequest, NodeClassNotReadyError
from ec2fake import NODE_CLASS, Ec2Fake
from ec2moto import ZONES
from providers.aws import AwsProvider
from providers.aws.selectors import Resolved

from .conftest import offers

Open = Callable[..., AwsProvider]


def with_spec(**changes: Any) -> dict[str, Any]:
    spec = NODE_CLASS["spec"] | changes
    return {"metadata": {"name": "aws"}, "spec": {key: value for key, value in spec.items() if value is not None}}


async def resolved(provider: AwsProvider, **changes: Any) -> Resolved:
    return await provider._selectors.resolve(with_spec(**changes), fresh=True)


async def test_subnets_are_meant_by_tag_by_any_value_by_id_and_by_name(fake: Ec2Fake, opened: Open) -> None:
    provider, (zone, subnet) = opened(), next(iter(fake.subnets.items()))
    fake.ec2.create_tags(Resources=[subnet], Tags=[{"Key": "team", "Value": "a"}])
    for term in ({"tags": {"team": "a"}}, {"tags": {"team": "*"}}, {"id": subnet}, {"name": zone},
                 {"name": zone, "tags": {"autonodes:discovery": "demo"}}):  # fmt: skip
        assert list((await resolved(provider, subnetSelectorTerms=[term])).subnets) == [zone]
    both = [{"name": zone}, {"name": ZONES[1]}]
    assert list((await resolved(provider, subnetSelectorTerms=both)).subnets) == [zone, ZONES[1]]
    with pytest.raises(NodeClassNotReadyError, match=r"spec\.subnetSelectorTerms: no subnet"):
        await resolved(provider, subnetSelectorTerms=[{"name": zone, "tags": {"team": "b"}}])


async def test_of_the_subnets_of_a_zone_the_one_with_the_most_room_is_taken(fake: Ec2Fake, opened: Open) -> None:
    marks = {"ResourceType": "subnet", "Tags": [{"Key": "autonodes:discovery", "Value": "demo"}]}
    larger = fake.ec2.create_subnet(
        VpcId=fake.vpc, CidrBlock="10.0.128.0/18", AvailabilityZone=ZONES[0], TagSpecifications=[marks]
    )["Subnet"]["SubnetId"]
    found = await resolved(opened())
    assert found.subnets[ZONES[0]].id == larger
    assert found.subnet_ids == {*fake.subnets.values(), larger}


async def test_groups_are_meant_by_tag_by_id_and_by_name(fake: Ec2Fake, opened: Open) -> None:
    provider = opened()
    fake.ec2.create_tags(Resources=[fake.group], Tags=[{"Key": "team", "Value": "a"}])
    for term in ({"tags": {"team": "a"}}, {"id": fake.group}, {"name": "nodes"}):
        assert (await resolved(provider, securityGroupSelectorTerms=[term])).groups == (fake.group,)


async def test_the_newest_image_of_each_architecture_is_taken(fake: Ec2Fake, opened: Open) -> None:
    provider = opened()
    newer = fake.add_image("node-x86_64-2")
    for terms in ([{"tags": {"autonodes:discovery": "demo"}}], [{"name": "node-*"}]):
        found = await resolved(provider, amiSelectorTerms=terms)
        assert found.images == {"amd64": newer, "arm64": fake.images["arm64"]}
    older = await resolved(provider, amiSelectorTerms=[{"id": fake.images["x86_64"]}])
    assert older.images == {"amd64": fake.images["x86_64"]}


async def test_reservations_are_meant_by_tag_by_id_and_by_name(fake: Ec2Fake, opened: Open) -> None:
    provider = opened()
    common = {"instanceType": "m5.large", "availabilityZone": ZONES[0], "availableInstanceCount": 1}
    fake.reservations = [
        common | {"capacityReservationId": "cr-1", "state": "active", "tags": {"Name": "ours", "team": "a"}},
        common | {"capacityReservationId": "cr-2", "state": "expired", "tags": {"team": "a"}},
        common | {"capacityReservationId": "cr-3", "state": "active", "tags": {}},
    ]
    for term in ({"tags": {"team": "a"}}, {"tags": {"team": "*"}}, {"id": "cr-1"}, {"name": "ours"}):
        found = await resolved(provider, capacityReservationSelectorTerms=[term])
        assert [each.id for each in found.reservations] == ["cr-1"]


async def test_a_given_instance_profile_is_taken_as_it_is(fake: Ec2Fake, opened: Open) -> None:
    provider, iam = opened(), fake.moto.client("iam")
    name = "autonodes-demo-given"  # the policy allows to look at profiles of such names
    iam.create_instance_profile(InstanceProfileName=name)
    with pytest.raises(NodeClassNotReadyError, match=r"spec\.instanceProfile"):
        await resolved(provider, role=None, instanceProfile=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="node")
    assert (await resolved(provider, role=None, instanceProfile=name)).profile == name
    assert set(fake.actions("iam")) == {"GetInstanceProfile"}


async def test_machines_drift_from_what_is_no_longer_meant(
    fake: Ec2Fake, opened: Open, order: Callable[..., LaunchRequest]
) -> None:
    provider = opened()
    machine = await provider.create(order(await offers(provider, "m5.large")))
    others = [{"id": id_} for zone, id_ in fake.subnets.items() if zone != machine.zone]
    assert await provider.is_drifted(machine, NODE_CLASS) is None
    assert await provider.is_drifted(machine, with_spec(subnetSelectorTerms=others)) == "SubnetDrift"
    fake.add_image("node-x86_64-2")
    newest = with_spec(amiSelectorTerms=[{"name": "node-*"}])
    assert await provider.is_drifted(machine, newest) == "AMIDrift"
