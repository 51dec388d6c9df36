"""AWS as it misbehaves: moto's server, and a proxy before it that adds what moto lacks.

moto keeps the state (machines, subnets, groups, images, launch templates, roles, queues). The proxy speaks AWS' own
protocols to the provider under test and answers by itself:

- CreateFleet: chooses by price among the overrides that have capacity, as EC2 does, starts the machines with all that
  the launch template says, and refuses pools that are sold out (`sold_out`). The same token gives the same machines;
  the same token with another content is an error.
- spot prices and the price list, of the built-in table; capacity reservations; placement groups.
- permissions: what the policy in docs/aws.md does not allow for one of the `clusters` is refused.
- faults: throttling, lost answers, outages, machines that show late, lists that break off, wrong credentials.

Every call is recorded (`calls`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError

from ec2market import product, spot_price, types_on_sale
from ec2moto import WRONG_KEY, ZONES, Moto
from ec2policy import Account, Policy
from ec2wire import NAMESPACE, Call, Refusal, edited, handler, nested, text_of, xml

_GET_PRODUCTS_PAGE: Final = 100
_SPOT_PAGE: Final = 1000


class Ec2Fake:
    """The proxy and the account behind it: a subnet a zone, a security group, images, a role. ``url`` is its endpoint.

    ``clusters``: whose policies are in force, None for no policy; ``shows_after``: describes before a new machine is
    shown; ``page``: machines' reservations in an answer.
    """

    def __init__(self, moto: Moto, *, clusters: Sequence[str] | None = ("demo",)) -> None:
        moto.reset()
        self.moto, self.lock = moto, threading.RLock()
        self.calls: list[Call] = []
        self.policies = None if clusters is None else [Policy(each) for each in clusters]
        self.sold_out: set[tuple[str, str, str]] = set()
        self.stock: dict[tuple[str, str, str], int] = {}
        self.throttled = 0
        self.lost: set[str] = set()
        self.is_down = False
        self.shows_after = 0
        self.page: int | None = None
        self.broken_lists = 0
        self.denied: set[str] = set()
        self.forbidden: list[str] = []
        self.refused_keys = {WRONG_KEY}
        self.reservations: list[dict[str, Any]] = []
        self.placement_groups: set[str] = set()
        self.user_data: dict[str, bytes] = {}
        self._images: dict[str, tuple[str, str]] = {}
        self._hidden: dict[str, int] = {}
        self._tokens: dict[str, tuple[str, bytes]] = {}
        self._token_locks: dict[str, threading.Lock] = {}
        self._account = Account(moto)
        self._set_up()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _set_up(self) -> None:
        self.ec2 = self.moto.client("ec2")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        marks = [{"Key": "autonodes:discovery", "Value": "demo"}]
        self.subnets = {}
        for number, zone in enumerate(ZONES):
            named = {"ResourceType": "subnet", "Tags": [*marks, {"Key": "Name", "Value": zone}]}
            made = self.ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number * 16}.0/20", AvailabilityZone=zone, TagSpecifications=[named]
            )
            self.subnets[zone] = made["Subnet"]["SubnetId"]
        self.vpc = vpc
        self.group = self.ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
        self.images = {arch: self.add_image(f"node-{arch}-1", arch) for arch in ("x86_64", "arm64")}
        iam = self.moto.client("iam")
        iam.create_role(RoleName="node", AssumeRolePolicyDocument="{}")

    def add_image(self, name: str, arch: str = "x86_64") -> str:
        made: str = self.ec2.register_image(Name=name, Architecture=arch, RootDeviceName="/dev/xvda")["ImageId"]
        self.ec2.create_tags(Resources=[made], Tags=[{"Key": "autonodes:discovery", "Value": "demo"}])
        self._images[made] = (arch, f"2026-01-01T00:00:{len(self._images):02}.000Z")
        return made

    def instances(self) -> list[dict[str, Any]]:
        """All that there are, the terminated too; asked of moto itself."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        return [each for page in pages for row in page["Reservations"] for each in row["Instances"]]

    def living(self) -> list[dict[str, Any]]:
        return [each for each in self.instances() if each["State"]["Name"] != "terminated"]

    def actions(self, service: str = "ec2") -> list[str]:
        """What was called, in order."""
        return [each.action for each in self.calls if each.service == service]

    def answer(self, service: str, action: str, parameters: Mapping[str, str], key: str) -> bytes | Refusal | None:
        """The proxy's own answer; None to ask moto; a `Refusal` to refuse."""
        if key in self.refused_keys:
            return Refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        if action in self.denied:
            return Refusal(403, "UnauthorizedOperation", f"You are not authorized to perform {action}")
        if (forbidden := self._forbidden(service, action, parameters)) is not None:
            self.forbidden.append(forbidden)
            return Refusal(403, "UnauthorizedOperation", f"You are not authorized: {forbidden}")
        with self.lock:
            if self.throttled > 0:
                self.throttled -= 1
                return Refusal(503, "RequestLimitExceeded", "Request limit exceeded.")
            if self.broken_lists and "NextToken" in parameters:
                self.broken_lists -= 1  # the client's own tries count
                return Refusal(500, "InternalError", "An internal error has occurred")
        own = {
            "CreateFleet": self._create_fleet,
            "DescribeInstanceTypes": self._instance_types,
            "DescribeSpotPriceHistory": self._spot_prices,
            "GetProducts": self._products,
            "DescribeCapacityReservations": self._capacity_reservations,
            "DescribePlacementGroups": self._placement_groups,
            "CreateLaunchTemplate": self._check_template,
            "DeleteLaunchTemplate": self._check_deletion,
        }
        return own[action](parameters) if action in own else None

    def _forbidden(self, service: str, action: str, parameters: Mapping[str, str]) -> str | None:
        """What of a call no policy allows. One policy must allow all of it."""
        if self.policies is None:
            return None
        uses = list(self._account.uses(service, action, parameters))
        missing = [next((use for use in uses if not policy.allows(use)), None) for policy in self.policies]
        return None if None in missing else str(missing[0])

    def show(self, action: str, body: bytes) -> bytes:
        """moto's answer, without the machines that are not shown yet, and with what moto forgets of images."""
        if action == "DescribeImages":
            return edited(body, "imagesSet", self._complete_image)
        if action != "DescribeInstances":
            return body
        with self.lock:
            hidden = {id_ for id_, looks in self._hidden.items() if looks > 0}
            self._hidden = {id_: looks - 1 for id_, looks in self._hidden.items() if looks > 1}
        if not hidden:
            return body
        return edited(body, "instancesSet", lambda item: text_of(item, "instanceId") not in hidden)

    def _complete_image(self, item: ET.Element) -> bool:
        arch, created = self._images.get(text_of(item, "imageId"), ("x86_64", "2020-01-01T00:00:00.000Z"))
        for name, value in (("architecture", arch), ("creationDate", created)):
            found = item.find(f"{{{NAMESPACE}}}{name}")
            (ET.SubElement(item, f"{{{NAMESPACE}}}{name}") if found is None else found).text = value
        return True

    def _instance_types(self, parameters: Mapping[str, str]) -> bytes:
        """moto's, which it takes two seconds to list, in pages, which moto has not."""
        with self.lock:
            items = self.moto.instance_types()
        start, count = int(parameters.get("NextToken", "0")), int(parameters.get("MaxResults", "100"))
        following = str(start + count) if start + count < len(items) else ""
        text = "".join(items[start : start + count])
        return xml(
            "DescribeInstanceTypes", f"<instanceTypeSet>{text}</instanceTypeSet><nextToken>{following}</nextToken>"
        )

    def _check_template(self, parameters: Mapping[str, str]) -> Refusal | None:
        data = base64.b64decode(parameters.get("LaunchTemplateData.UserData", ""))
        if len(data) > 16384:
            return Refusal(400, "InvalidUserData.Malformed", "User data is limited to 16384 bytes")
        return None

    def _check_deletion(self, parameters: Mapping[str, str]) -> Refusal | None:
        """moto says of a template that is gone that a parameter is missing."""
        name = parameters["LaunchTemplateName"]
        with self.moto.busy:
            known = self.ec2.describe_launch_templates()["LaunchTemplates"]
        if name in {each["LaunchTemplateName"] for each in known}:
            return None
        return Refusal(400, "InvalidLaunchTemplateName.NotFoundException", f"{name} does not exist")

    def _create_fleet(self, parameters: Mapping[str, str]) -> bytes | Refusal:
        token = parameters["ClientToken"]
        content = hashlib.sha256(repr(sorted(parameters.items())).encode()).hexdigest()
        with self.lock:
            lock = self._token_locks.setdefault(token, threading.Lock())
        with lock:
            known = self._tokens.get(token)
            if known is not None:
                if known[0] != content:
                    return Refusal(400, "IdempotentParameterMismatch", "The token was used with other parameters")
                return known[1]
            with self.moto.busy:
                answer = self._fleet(nested(parameters))
            if isinstance(answer, bytes):
                self._tokens[token] = (content, answer)
            return answer

    def _fleet(self, asked: dict[str, Any]) -> bytes | Refusal:
        (config,) = asked["LaunchTemplateConfigs"]
        name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
        try:
            versions = self.ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
        except ClientError as error:
            told = error.response["Error"]
            return Refusal(400, told["Code"], told["Message"])
        data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        kind = asked["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
        reservation = data.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget", {})
        capacity = "reserved" if reservation else kind
        zones = {subnet: zone for zone, subnet in self.subnets.items()}
        wanted = int(asked["TargetCapacitySpecification"]["TotalTargetCapacity"])
        sold: list[tuple[dict[str, str], list[str]]] = []
        errors: list[tuple[dict[str, str], str, str]] = []
        for override in sorted(config["Overrides"], key=lambda each: self._price_of(each, zones, kind)):
            if not wanted:
                break
            pool = (override["InstanceType"], zones[override["SubnetId"]], capacity)
            if pool[0] not in types_on_sale():
                errors.append((override, "InvalidInstanceType", f"Invalid instance type {pool[0]}"))
                continue
            count = self._take(pool, wanted)
            if count:
                sold.append((override, self._run(data, override, asked["TagSpecification"], kind, count)))
                wanted -= count
            if wanted:
                errors.append((override, "InsufficientInstanceCapacity", f"We have no capacity for {pool[0]}"))
        return _fleet_answer(sold, errors, kind)

    def _price_of(self, override: Mapping[str, str], zones: Mapping[str, str], kind: str) -> float:
        name, zone = override["InstanceType"], zones[override["SubnetId"]]
        known = types_on_sale().get(name)
        if known is None:
            return 0.0
        return spot_price(known, zone) if kind == "spot" else known.offerings[0].price or 0.0

    def _take(self, pool: tuple[str, str, str], wanted: int) -> int:
        with self.lock:
            left = 0 if pool in self.sold_out else self.stock.get(pool, wanted)
            count = min(left, wanted)
            if pool in self.stock:
                self.stock[pool] -= count
            return count

    def _run(
        self, data: Mapping[str, Any], override: Mapping[str, str], marks: list[Any], kind: str, count: int
    ) -> list[str]:
        given = {key: data[key] for key in ("MetadataOptions", "BlockDeviceMappings", "Placement", "IamInstanceProfile")
                 if key in data}  # fmt: skip
        given.pop("Placement", None)  # moto knows zones only
        groups = data.get("SecurityGroupIds") or data["NetworkInterfaces"][0]["Groups"]
        market = {"InstanceMarketOptions": {"MarketType": "spot"}} if kind == "spot" else {}
        made = self.ec2.run_instances(
            ImageId=data["ImageId"], InstanceType=override["InstanceType"], SubnetId=override["SubnetId"],
            SecurityGroupIds=groups, UserData=data["UserData"], MinCount=count, MaxCount=count,
            TagSpecifications=[{"ResourceType": each["ResourceType"], "Tags": each["Tag"]}
                               for each in marks if each["ResourceType"] in ("instance", "volume")],
            **given, **market,
        )  # fmt: skip
        ids = [each["InstanceId"] for each in made["Instances"]]
        with self.lock:
            self._hidden |= dict.fromkeys(ids, self.shows_after)
            self.user_data |= dict.fromkeys(ids, base64.b64decode(data["UserData"]))
        return ids

    def _spot_prices(self, parameters: Mapping[str, str]) -> bytes:
        start = int(parameters.get("NextToken", "0"))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        rows = [(name, zone, spot_price(each, zone)) for name, each in types_on_sale().items() for zone in ZONES
                if each.offerings[0].price is not None]  # fmt: skip
        items = "".join(
            f"<item><instanceType>{name}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{price:.6f}</spotPrice><timestamp>{now}</timestamp><availabilityZone>{zone}</availabilityZone>"
            "</item>"
            for name, zone, price in rows[start : start + _SPOT_PAGE]
        )
        following = str(start + _SPOT_PAGE) if start + _SPOT_PAGE < len(rows) else ""
        text = f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken>{following}</nextToken>"
        return xml("DescribeSpotPriceHistory", text)

    def _products(self, parameters: Mapping[str, str]) -> bytes:
        asked = json.loads(parameters["json"])
        tenancy = next(each["Value"] for each in asked["Filters"] if each["Field"] == "tenancy")
        start, factor = int(asked.get("NextToken", "0")), 1.06 if tenancy == "Dedicated" else 1.0
        rows = [(name, price * factor) for name, each in types_on_sale().items()
                if (price := each.offerings[0].price) is not None]  # fmt: skip
        products = [json.dumps(product(name, price, tenancy)) for name, price in rows[start:][:_GET_PRODUCTS_PAGE]]
        following = start + _GET_PRODUCTS_PAGE
        token = {"NextToken": str(following)} if following < len(rows) else {}
        return json.dumps({"FormatVersion": "aws_v1", "PriceList": products, **token}).encode()

    def _capacity_reservations(self, parameters: Mapping[str, str]) -> bytes:
        filters = nested(parameters).get("Filter", ())
        items = "".join(
            "<item>" + "".join(f"<{key}>{value}</{key}>" for key, value in each.items() if key != "tags") + "</item>"
            for each in self.reservations
            if all(_is_meant(each, by["Name"], by["Value"]) for by in filters)
        )
        return xml("DescribeCapacityReservations", f"<capacityReservationSet>{items}</capacityReservationSet>")

    def _placement_groups(self, parameters: Mapping[str, str]) -> bytes:
        items = "".join(
            f"<item><groupName>{each}</groupName><state>available</state></item>"
            for each in sorted(self.placement_groups) if each in parameters.values()
        )  # fmt: skip
        return xml("DescribePlacementGroups", f"<placementGroupSet>{items}</placementGroupSet>")


def _is_meant(reservation: Mapping[str, Any], name: str, values: Sequence[str]) -> bool:
    """By one of DescribeCapacityReservations' filters."""
    tags = reservation.get("tags", {})
    if name == "tag-key":
        return any(key in values for key in tags)
    if name.startswith("tag:"):
        return tags.get(name.removeprefix("tag:")) in values
    return reservation[{"capacity-reservation-id": "capacityReservationId", "state": "state"}[name]] in values


def _fleet_answer(
    sold: list[tuple[dict[str, str], list[str]]], errors: list[tuple[dict[str, str], str, str]], kind: str
) -> bytes:
    def overridden(override: Mapping[str, str]) -> str:
        inside = f"<instanceType>{override['InstanceType']}</instanceType><subnetId>{override['SubnetId']}</subnetId>"
        return f"<launchTemplateAndOverrides><overrides>{inside}</overrides></launchTemplateAndOverrides>"

    bought = "".join(
        f"<item>{overridden(override)}<lifecycle>{kind}</lifecycle><instanceIds>"
        + "".join(f"<item>{id_}</item>" for id_ in ids)
        + f"</instanceIds><instanceType>{override['InstanceType']}</instanceType></item>"
        for override, ids in sold
    )
    refused = "".join(
        f"<item>{overridden(override)}<lifecycle>{kind}</lifecycle><errorCode>{code}</errorCode>"
        f"<errorMessage>{escape(text)}</errorMessage></item>"
        for override, code, text in errors
    )
    return xml("CreateFleet", f"<fleetId>fleet-1</fleetId><errorSet>{refused}</errorSet>"
                               f"<fleetInstanceSet>{bought}</fleetInstanceSet>")  # fmt: skip


NODE_CLASS: Final[dict[str, Any]] = {
    "metadata": {"name": "aws", "generation": 1},
    "spec": {
        "amiSelectorTerms": [{"tags": {"autonodes:discovery": "demo"}}],
        "subnetSelectorTerms": [{"tags": {"autonodes:discovery": "demo"}}],
        "securityGroupSelectorTerms": [{"name": "nodes"}],
        "role": "node",
    },
}
"""Of the account that a new fake has."""
