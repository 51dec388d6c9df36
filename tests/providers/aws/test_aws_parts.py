"""The provider's parts that need no AWS: tags, orders on disk, lots, faults, events."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from autonodes.core.model import InstanceType, Offering
from autonodes.provider import NodeClassNotReadyError
from providers.aws import fleet, tags
from providers.aws.catalogue import rows
from providers.aws.drift import drift
from providers.aws.faults import Fault, as_not_ready, translate
from providers.aws.instancetypes import Sizing, instance_type
from providers.aws.interruption import Notice, notices
from providers.aws.launches import Bought, Launch, Launches
from providers.aws.machines import Instance

CLAIMS = tuple((f"00000000-0000-4000-8000-{number:012}", f"default-{number:05}") for number in range(50))


def launch(batch: str, claims: tuple[tuple[str, str], ...]) -> Launch:
    return Launch(batch=batch, claims=tuple(claims), created_at=1.0, capacity_type="spot", sizing="1 0 0")


def test_fifty_claims_and_their_machines_fit_into_the_tags_that_ec2_allows() -> None:
    ids = [f"i-{number:017x}" for number in range(50)]
    marks = tags.claims(CLAIMS) | tags.machines(ids)
    assert len(marks) + 7 + 20 <= 50
    assert all(len(value) <= 256 for value in marks.values())
    assert [tags.claim_of(each, marks) for each in ids] == list(CLAIMS)


def test_a_machine_of_an_order_is_nobodys_until_it_is_said_whose() -> None:
    assert tags.claim_of("i-1", tags.claims(CLAIMS[:2])) is None
    assert tags.claim_of("i-1", tags.claims(CLAIMS[:1])) == CLAIMS[0]


@pytest.mark.parametrize("sizing", [Sizing(), Sizing(root_volume=2**33, max_pods=110, efa=False)])
def test_a_size_survives_its_tag(sizing: Sizing) -> None:
    assert tags.sizing_of(tags.text_of(sizing)) == sizing


def test_a_claim_is_in_one_order_at_a_time(tmp_path: Path) -> None:
    first, second = Launches(tmp_path / "a"), Launches(tmp_path / "a")
    one = first.add(CLAIMS[:2], launch)
    two = second.add(CLAIMS[1:4], launch)
    assert one is not None
    assert two is not None
    assert two.claims == CLAIMS[2:4]
    assert second.add(CLAIMS[:4], launch) is None
    first.release(CLAIMS[0][0])
    assert second.of(CLAIMS[0][0]) is None
    assert second.of(CLAIMS[1][0]) == launch(one.batch, CLAIMS[1:2])


def test_an_order_is_readable_by_its_owner_only_and_never_goes_back(tmp_path: Path) -> None:
    launches = Launches(tmp_path / "a")
    one = launches.add(CLAIMS[:1], launch)
    assert one is not None
    assert stat.S_IMODE((tmp_path / "a" / f"{one.batch}.json").stat().st_mode) == 0o600
    bought = launches.advance(one, "bought", machines=(Bought(id="i-1", instance_type="m5.large", zone="z"),))
    assert launches.advance(one, "ordered") == bought
    assert launches.advance(one, "bought", machines=()) == bought
    launches.release(CLAIMS[0][0])
    assert launches.all() == []


def offered(name: str, price: float, capacity_type: str, reservation: str = "") -> tuple[InstanceType, Offering]:
    offering = Offering(zone="us-east-1a", capacity_type=capacity_type, price=price, reservation=reservation)
    return instance_type(name, rows()[name], "us-east-1", (offering,)), offering


def test_a_fleet_is_asked_for_what_one_template_can_say() -> None:
    candidates = [
        offered("m5.large", 0.0, "reserved", "cr-1"),
        offered("m5.large", 0.03, "spot"),
        offered("m6g.large", 0.04, "spot"),
        offered("c5.large", 0.05, "spot"),
        offered("m5.large", 0.09, "on-demand"),
    ]
    found = fleet.lots(candidates)
    assert [(lot.capacity_type, lot.arch, lot.reservation, len(each)) for lot, each in found.items()] == [
        ("reserved", "amd64", "cr-1", 1),
        ("spot", "amd64", "", 2),
        ("spot", "arm64", "", 1),
        ("on-demand", "amd64", "", 1),
    ]


def test_spot_that_is_dearer_than_on_demand_is_not_asked_for() -> None:
    found = fleet.lots([offered("m5.large", 0.09, "on-demand"), offered("m5.xlarge", 0.1, "spot")])
    assert [lot.capacity_type for lot in found] == ["on-demand"]


def test_adapters_make_a_lot_of_their_own() -> None:
    found = fleet.lots([offered("p4d.24xlarge", 30.0, "on-demand"), offered("g5.xlarge", 31.0, "on-demand")])
    assert [lot.efa for lot in found] == [4, 0]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ClientError({"Error": {"Code": "AuthFailure", "Message": "m"}}, "X"), Fault.CREDENTIALS),
        (ClientError({"Error": {"Code": "VcpuLimitExceeded", "Message": "m"}}, "X"), Fault.CAPACITY),
        (ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": "m"}}, "X"), Fault.THROTTLED),
        (ClientError({"Error": {"Code": "New"}, "ResponseMetadata": {"HTTPStatusCode": 502}}, "X"), Fault.UNKNOWN),
        (ClientError({"Error": {"Code": "InvalidParameterValue", "Message": "m"}}, "X"), Fault.REFUSED),
        (NoCredentialsError(), Fault.CREDENTIALS),
        (EndpointConnectionError(endpoint_url="x"), Fault.UNKNOWN),
    ],
    ids=str,
)  # fmt: skip
def test_every_answer_has_one_meaning(error: ClientError, fault: Fault) -> None:
    assert translate(error, "X").fault is fault


def test_a_refused_permission_says_where_the_policy_is() -> None:
    error = translate(ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "X"), "CreateFleet")
    found = as_not_ready(error)
    assert isinstance(found, NodeClassNotReadyError)
    assert "CreateFleet" in str(found)
    assert "docs/aws.md" in str(found)


EVENTS = [
    ({"detail-type": "EC2 Spot Instance Interruption Warning", "time": "2026-01-31T12:00:00Z",
      "detail": {"instance-id": "i-1"}}, ("i-1", "spot", 1769860920.0)),
    ({"detail-type": "EC2 Instance Rebalance Recommendation", "time": "2026-01-31T12:00:00Z",
      "detail": {"instance-id": "i-1"}}, ("i-1", "spot", None)),
    ({"detail-type": "EC2 Instance State-change Notification", "time": "2026-01-31T12:00:00Z",
      "detail": {"instance-id": "i-1", "state": "stopping"}}, ("i-1", "host-failure", 1769860800.0)),
    ({"detail-type": "AWS Health Event", "time": "2026-01-30T12:00:00Z",
      "detail": {"service": "EC2", "eventTypeCategory": "scheduledChange", "startTime": "Sat, 31 Jan 2026 12:00:00 GMT",
                 "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
                 "affectedEntities": [{"entityValue": "i-1"}]}}, ("i-1", "maintenance", 1769860800.0)),
]  # fmt: skip


@pytest.mark.parametrize(("event", "expected"), EVENTS, ids=[event["detail-type"] for event, _ in EVENTS])
def test_events_are_notices(event: dict[str, object], expected: tuple[str, str, float | None]) -> None:
    (found,) = notices(event)
    assert isinstance(found, Notice)
    assert (found.instance_id, found.kind, found.at) == expected


@pytest.mark.parametrize(
    "event",
    [
        {"detail-type": "EC2 Instance State-change Notification", "detail": {"instance-id": "i-1", "state": "running"}},
        {"detail-type": "AWS Health Event", "detail": {"service": "EC2", "eventTypeCategory": "accountNotification"}},
        {"detail-type": "Something else"},
        {},
    ],
    ids=str,
)
def test_other_events_are_none(event: dict[str, object]) -> None:
    assert list(notices(event)) == []


def test_what_a_machine_was_made_of_and_is_asked_for_no_longer_is_drift() -> None:
    reservations = (SimpleNamespace(id="cr-1"),)
    resolved = SimpleNamespace(hash="h", images={"amd64": "ami-2"}, subnet_ids=frozenset({"subnet-1"}),
                               groups=("sg-1",), reservations=reservations)  # fmt: skip
    marks = {tags.NODE_CLASS_HASH: "h", tags.CAPACITY_TYPE: "reserved"}
    good = {"ImageId": "ami-2", "SubnetId": "subnet-1", "SecurityGroups": [{"GroupId": "sg-1"}],
            "CapacityReservationId": "cr-1"}  # fmt: skip

    def found(changed: dict[str, object], **other: str) -> str | None:
        return drift(Instance("i-1", "running", marks | other, good | changed), resolved)  # type: ignore[arg-type]

    assert found({}) is None
    assert found({"ImageId": "ami-1"}) == "AMIDrift"
    assert found({"SubnetId": "subnet-2"}) == "SubnetDrift"
    assert found({"SecurityGroups": [{"GroupId": "sg-1"}, {"GroupId": "sg-2"}]}) == "SecurityGroupDrift"
    assert found({"CapacityReservationId": "cr-2"}) == "CapacityReservationDrift"
    assert found({}, **{tags.NODE_CLASS_HASH: "other"}) == "NodeClassDrift"
