"""AWS as it misbehaves: moto's server, and a proxy before it that adds what moto lacks.

moto keeps the state (machines, subnets, groups, images, launch templates, roles, queues). The proxy speaks AWS' own
protocols to the provider under test and answers by itself:

- CreateFleet: chooses by price among the overrides that have capacity, as EC2 does, starts the machines with all that
  the launch template says, and refuses pools that are sold out (`sold_out`). The same token gives the same machines;
  the same token with another content is an error.
- spot prices and the price list, of the built-in table; capacity reservations; placement groups.
- faults: throttling, lost answers, outages, machines that show late, lists that break off, wrong credentials.

Every call is recorded (`calls`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import msgspec
from botocore.exceptions import ClientError

from autonodes.core.model import InstanceType
from providers.aws.calls import session
from providers.aws.catalogue import catalogue, rows
from providers.aws.market import Market

REGION: Final = "us-east-1"
ZONES: Final = ("us-east-1a", "us-east-1b", "us-east-1c")
KEY: Final = "AKIAGOODGOODGOODGOOD"
SECRET_KEY: Final = "good/secret/of/the/account"
WRONG_KEY: Final = "AKIAWRONGWRONGWRONGW"
_NAMESPACE: Final = "http://ec2.amazonaws.com/doc/2016-11-15"
_GET_PRODUCTS_PAGE: Final = 100
_SPOT_PAGE: Final = 1000


@dataclass(frozen=True)
class Call:
    """One request: ``Call("ec2", "CreateFleet", {...})``."""

    service: str
    action: str
    parameters: Mapping[str, str] = field(repr=False)


class Moto:
    """The server process. One for many fakes, reset between them."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._types: list[str] = []
        self._clients: dict[str, Any] = {}
        self.busy = threading.Lock()  # it is not safe to be asked for two things at a time
        self._wait()

    def client(self, service: str) -> Any:
        """boto3's, past the proxy."""
        if service not in self._clients:
            self._clients[service] = session(REGION).client(
                service,
                endpoint_url=f"http://127.0.0.1:{self.port}",
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET_KEY,
            )
        return self._clients[service]

    def reset(self) -> None:
        self._request("POST", "/moto-api/reset")

    def instance_types(self) -> list[str]:
        """Each as XML."""
        if not self._types:
            client, answers = self.client("ec2"), []
            client.meta.events.register("before-parse.ec2", lambda response_dict, **_: answers.append(response_dict))
            client.describe_instance_types()
            root = ET.fromstring(answers[0]["body"])  # noqa: S314 -- moto's own
            for node in root.iter():
                node.tag = node.tag.rpartition("}")[2]
            self._types = [ET.tostring(each, encoding="unicode") for each in root.find("instanceTypeSet") or ()]
        return self._types

    def close(self) -> None:
        self._child.kill()
        self._child.wait(timeout=30)

    def _request(self, method: str, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            connection.getresponse().read()

    def _wait(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError):
                return self._request("GET", "/moto-api/")
            time.sleep(0.05)
        raise AssertionError("moto does not come up")


class Ec2Fake:
    """The proxy and the account behind it: a subnet a zone, a security group, images, a role. ``url`` is its endpoint.

    ``shows_after``: describes before a new machine is shown; ``page``: machines' reservations in an answer.
    """

    def __init__(self, moto: Moto) -> None:
        moto.reset()
        self.moto, self.lock = moto, threading.RLock()
        self.calls: list[Call] = []
        self.sold_out: set[tuple[str, str, str]] = set()
        self.stock: dict[tuple[str, str, str], int] = {}
        self.throttled = 0
        self.lost: set[str] = set()
        self.is_down = False
        self.shows_after = 0
        self.page: int | None = None
        self.broken_lists = 0
        self.denied: set[str] = set()
        self.reservations: list[dict[str, Any]] = []
        self.placement_groups: set[str] = set()
        self.user_data: dict[str, bytes] = {}
        self._images: dict[str, tuple[str, str]] = {}
        self._hidden: dict[str, int] = {}
        self._tokens: dict[str, tuple[str, bytes]] = {}
        self._token_locks: dict[str, threading.Lock] = {}
        self._set_up()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
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

    def answer(self, service: str, action: str, parameters: Mapping[str, str], key: str) -> bytes | _Refusal | None:
        """The proxy's own answer; None to ask moto; a `_Refusal` to refuse."""
        if key == WRONG_KEY:
            return _Refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        if action in self.denied:
            return _Refusal(403, "UnauthorizedOperation", f"You are not authorized to perform {action}")
        with self.lock:
            if self.throttled > 0:
                self.throttled -= 1
                return _Refusal(503, "RequestLimitExceeded", "Request limit exceeded.")
            if self.broken_lists and "NextToken" in parameters:
                self.broken_lists -= 1  # the client's own tries count
                return _Refusal(500, "InternalError", "An internal error has occurred")
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

    def show(self, action: str, body: bytes) -> bytes:
        """moto's answer, without the machines that are not shown yet, and with what moto forgets of images."""
        if action == "DescribeImages":
            return _edited(body, "imagesSet", self._complete_image)
        if action != "DescribeInstances":
            return body
        with self.lock:
            hidden = {id_ for id_, looks in self._hidden.items() if looks > 0}
            self._hidden = {id_: looks - 1 for id_, looks in self._hidden.items() if looks > 1}
        if not hidden:
            return body
        return _edited(body, "instancesSet", lambda item: _text(item, "instanceId") not in hidden)

    def _complete_image(self, item: ET.Element) -> bool:
        arch, created = self._images.get(_text(item, "imageId"), ("x86_64", "2020-01-01T00:00:00.000Z"))
        for name, value in (("architecture", arch), ("creationDate", created)):
            found = item.find(f"{{{_NAMESPACE}}}{name}")
            (ET.SubElement(item, f"{{{_NAMESPACE}}}{name}") if found is None else found).text = value
        return True

    def _instance_types(self, parameters: Mapping[str, str]) -> bytes:
        """moto's, which it takes two seconds to list, in pages, which moto has not."""
        with self.lock:
            items = self.moto.instance_types()
        start, count = int(parameters.get("NextToken", "0")), int(parameters.get("MaxResults", "100"))
        following = str(start + count) if start + count < len(items) else ""
        text = "".join(items[start : start + count])
        return _xml(
            "DescribeInstanceTypes", f"<instanceTypeSet>{text}</instanceTypeSet><nextToken>{following}</nextToken>"
        )

    def _check_template(self, parameters: Mapping[str, str]) -> _Refusal | None:
        data = base64.b64decode(parameters.get("LaunchTemplateData.UserData", ""))
        if len(data) > 16384:
            return _Refusal(400, "InvalidUserData.Malformed", "User data is limited to 16384 bytes")
        return None

    def _check_deletion(self, parameters: Mapping[str, str]) -> _Refusal | None:
        """moto says of a template that is gone that a parameter is missing."""
        name = parameters["LaunchTemplateName"]
        with self.moto.busy:
            known = self.ec2.describe_launch_templates()["LaunchTemplates"]
        if name in {each["LaunchTemplateName"] for each in known}:
            return None
        return _Refusal(400, "InvalidLaunchTemplateName.NotFoundException", f"{name} does not exist")

    def _create_fleet(self, parameters: Mapping[str, str]) -> bytes | _Refusal:
        token = parameters["ClientToken"]
        content = hashlib.sha256(repr(sorted(parameters.items())).encode()).hexdigest()
        with self.lock:
            lock = self._token_locks.setdefault(token, threading.Lock())
        with lock:
            known = self._tokens.get(token)
            if known is not None:
                if known[0] != content:
                    return _Refusal(400, "IdempotentParameterMismatch", "The token was used with other parameters")
                return known[1]
            with self.moto.busy:
                answer = self._fleet(_nested(parameters))
            if isinstance(answer, bytes):
                self._tokens[token] = (content, answer)
            return answer

    def _fleet(self, asked: dict[str, Any]) -> bytes | _Refusal:
        (config,) = asked["LaunchTemplateConfigs"]
        name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
        try:
            versions = self.ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
        except ClientError as error:
            told = error.response["Error"]
            return _Refusal(400, told["Code"], told["Message"])
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
            if pool[0] not in _types():
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
        known = _types().get(name)
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
        rows = [(name, zone, spot_price(each, zone)) for name, each in _types().items() for zone in ZONES
                if each.offerings[0].price is not None]  # fmt: skip
        items = "".join(
            f"<item><instanceType>{name}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{price:.6f}</spotPrice><timestamp>{now}</timestamp><availabilityZone>{zone}</availabilityZone>"
            "</item>"
            for name, zone, price in rows[start : start + _SPOT_PAGE]
        )
        following = str(start + _SPOT_PAGE) if start + _SPOT_PAGE < len(rows) else ""
        text = f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken>{following}</nextToken>"
        return _xml("DescribeSpotPriceHistory", text)

    def _products(self, parameters: Mapping[str, str]) -> bytes:
        asked = json.loads(parameters["json"])
        tenancy = next(each["Value"] for each in asked["Filters"] if each["Field"] == "tenancy")
        start, factor = int(asked.get("NextToken", "0")), 1.06 if tenancy == "Dedicated" else 1.0
        rows = [(name, price * factor) for name, each in _types().items()
                if (price := each.offerings[0].price) is not None]  # fmt: skip
        products = [json.dumps(_product(name, price, tenancy)) for name, price in rows[start:][:_GET_PRODUCTS_PAGE]]
        following = start + _GET_PRODUCTS_PAGE
        token = {"NextToken": str(following)} if following < len(rows) else {}
        return json.dumps({"FormatVersion": "aws_v1", "PriceList": products, **token}).encode()

    def _capacity_reservations(self, parameters: Mapping[str, str]) -> bytes:
        text = json.dumps(sorted(parameters.items()))
        items = "".join(
            "<item>" + "".join(f"<{key}>{value}</{key}>" for key, value in each.items()) + "</item>"
            for each in self.reservations
            if f'"{each["capacityReservationId"]}"' in text
        )
        return _xml("DescribeCapacityReservations", f"<capacityReservationSet>{items}</capacityReservationSet>")

    def _placement_groups(self, parameters: Mapping[str, str]) -> bytes:
        items = "".join(
            f"<item><groupName>{each}</groupName><state>available</state></item>"
            for each in sorted(self.placement_groups) if each in parameters.values()
        )  # fmt: skip
        return _xml("DescribePlacementGroups", f"<placementGroupSet>{items}</placementGroupSet>")


def _edited(body: bytes, of: str, keep: Callable[[ET.Element], bool]) -> bytes:
    """An answer with the items of a set edited, and without those that are not kept."""
    root = ET.fromstring(body)  # noqa: S314 -- moto's own
    ET.register_namespace("", _NAMESPACE)
    for items in root.iter(f"{{{_NAMESPACE}}}{of}"):
        for item in list(items):
            if not keep(item):
                items.remove(item)
    return ET.tostring(root)


def _text(item: ET.Element, name: str) -> str:
    return item.findtext(f"{{{_NAMESPACE}}}{name}") or ""


@dataclass(frozen=True)
class _Refusal:
    status: int
    code: str
    message: str


def spot_price(instance_type: InstanceType, zone: str) -> float:
    """Between 30% and 60% of the on-demand price, another one in each zone, always the same."""
    drawn = hashlib.sha256(f"{instance_type.name}{zone}".encode()).digest()[0] / 255
    return round((instance_type.offerings[0].price or 0.0) * (0.3 + 0.3 * drawn), 6)


def _types() -> Mapping[str, InstanceType]:
    if not _known:
        _known.update({each.name: each for each in catalogue(REGION)})
    return _known


_known: dict[str, InstanceType] = {}


def _product(name: str, price: float, tenancy: str) -> dict[str, Any]:
    """As much of the price list's product as counts, and some of the rest."""
    rate = {"unit": "Hrs", "description": f"${price} per On Demand Linux", "pricePerUnit": {"USD": f"{price:.10f}"}}
    return {
        "product": {"productFamily": "Compute Instance", "sku": name, "attributes": {
            "instanceType": name, "tenancy": tenancy, "operatingSystem": "Linux", "regionCode": REGION}},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{name}.JRTC": {"priceDimensions": {f"{name}.JRTC.6YS6": rate}}}},
    }  # fmt: skip


def _xml(action: str, content: str) -> bytes:
    return f'<{action}Response xmlns="{_NAMESPACE}"><requestId>r</requestId>{content}</{action}Response>'.encode()


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
    return _xml("CreateFleet", f"<fleetId>fleet-1</fleetId><errorSet>{refused}</errorSet>"
                               f"<fleetInstanceSet>{bought}</fleetInstanceSet>")  # fmt: skip


def _nested(parameters: Mapping[str, str]) -> dict[str, Any]:
    """``A.1.B=x`` → ``{"A": [{"B": "x"}]}``"""
    root: dict[str, Any] = {}
    for key, value in parameters.items():
        here = root
        *path, last = key.split(".")
        for segment in path:
            here = here.setdefault(segment, {})
        here[last] = value

    def listed(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if node and all(key.isdecimal() for key in node):
            return [listed(node[key]) for key in sorted(node, key=int)]
        return {key: listed(each) for key, each in node.items()}

    plain: dict[str, Any] = listed(root)
    return plain


_SCOPE: Final = re.compile(r"Credential=(?P<key>[^/]+)/[^/]+/[^/]+/(?P<service>[^/]+)/")


def _handler(fake: Ec2Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if fake.is_down:
                self._hang_up()
                return
            scope = _SCOPE.search(self.headers.get("Authorization", ""))
            service, key = (scope["service"], scope["key"]) if scope else ("", "")
            target = self.headers.get("X-Amz-Target", "")
            if target:
                action, parameters = target.rpartition(".")[2], {"json": body.decode()}
            else:
                parameters = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
                action = parameters.get("Action", "")
            with fake.lock:
                fake.calls.append(Call(service, action, parameters))
            answer = fake.answer(service, action, parameters, key)
            if isinstance(answer, _Refusal):
                self._refuse(service, answer)
                return
            status, headers, content = (
                (200, {}, answer) if answer is not None else self._ask_moto(action, parameters, body)
            )
            if action in fake.lost:
                fake.lost.discard(action)
                self._hang_up()
                return
            self._send(status, headers.get("Content-Type", "text/xml"), fake.show(action, content))

        def _ask_moto(
            self, action: str, parameters: dict[str, str], body: bytes
        ) -> tuple[int, Mapping[str, str], bytes]:
            if action == "DescribeInstances" and fake.page and "MaxResults" in parameters:
                body = urllib.parse.urlencode(parameters | {"MaxResults": str(fake.page)}).encode()
            connection = http.client.HTTPConnection("127.0.0.1", fake.moto.port, timeout=60)
            with contextlib.closing(connection), fake.moto.busy:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                return response.status, dict(response.headers), response.read()

        def _refuse(self, service: str, refusal: _Refusal) -> None:
            if service in ("sqs", "pricing"):
                content = json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
            elif service == "ec2":
                inside = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
                content = f"<Response><Errors>{inside}</Errors><RequestID>r</RequestID></Response>".encode()
            else:
                inside = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
                content = f"<ErrorResponse>{inside}<RequestId>r</RequestId></ErrorResponse>".encode()
            self._send(refusal.status, "text/xml", content)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler


@contextlib.contextmanager
def moto_server() -> Iterator[Moto]:
    moto = Moto()
    try:
        yield moto
    finally:
        moto.close()


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


def built_in_market(path: Path) -> Path:
    """The market of the fake, written as the provider's cache has it: most tests need not ask for it."""
    prices = {name: price for name, each in _types().items() if (price := each.offerings[0].price) is not None}
    now = time.time()
    market = Market(
        region=REGION,
        types={name: rows()[name] for name in _types()},
        zones={name: [zone for zone in ZONES if zone in _zones(each)] for name, each in _types().items()},
        prices={"Shared": prices, "Dedicated": {name: 1.06 * price for name, price in prices.items()}},
        spot={name: {zone: spot_price(_types()[name], zone) for zone in ZONES} for name in prices},
        asked={"types": now, "prices": now, "spot": now},
    )
    path.write_bytes(msgspec.json.encode(market))
    return path


def _zones(instance_type: InstanceType) -> set[str]:
    return {offering.zone for offering in instance_type.offerings}
