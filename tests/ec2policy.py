"""IAM as far as docs/aws.md needs it: what a call needs permission for, and whether the policy gives it.

A call needs one or more permissions, each an action on a resource under conditions, by the service authorization
reference (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html): a fleet runs
instances out of an image, subnets, groups; whoever tags what it creates needs to be allowed to tag; whoever hands out a
role, to pass it. The tags of what exists are looked up in the account.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from ec2moto import ACCOUNT, REGION, Moto
from ec2wire import nested

ROOT: Final = Path(__file__).parents[1]
_RENAMED: Final = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}
"""Calls whose permission has another name."""


@dataclass(frozen=True)
class Use:
    """:param context: condition keys and their values"""

    action: str
    resource: str
    context: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} with {dict(self.context)}"


class Policy:
    """The policy of docs/aws.md, filled in for a cluster in the fake's account.

    ``granted``: statement, and action or resource, of everything that it has allowed.
    """

    def __init__(self, cluster: str) -> None:
        text = (ROOT / "docs/aws.md").read_text(encoding="utf-8")
        (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
        filled = re.sub(r"\bdemo\b", cluster, block).replace("111122223333", ACCOUNT)
        self.statements: list[dict[str, Any]] = json.loads(filled)["Statement"]
        self.granted: set[tuple[str, str]] = set()

    def allows(self, use: Use) -> bool:
        for statement in self.statements:
            resource = _covering(statement, use)
            if resource is not None:
                self.granted |= {(statement["Sid"], use.action), (statement["Sid"], resource)}
                return True
        return False

    def grants(self) -> set[tuple[str, str]]:
        """Statement, and action or resource, of everything that it can allow."""
        return {
            (each["Sid"], part)
            for each in self.statements
            for part in (*_listed(each["Action"]), *_listed(each["Resource"]))
        }


def _covering(statement: Mapping[str, Any], use: Use) -> str | None:
    """Which of a statement's resources it is, if all of the statement is met."""
    if set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"} or statement["Effect"] != "Allow":
        raise AssertionError(f"{statement['Sid']} has something that is not understood here")
    if use.action not in _listed(statement["Action"]):
        return None
    conditions = (
        _holds(operator, use.context.get(key, ()), _listed(wanted))
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )
    if not all(conditions):
        return None
    return next((each for each in _listed(statement["Resource"]) if fnmatchcase(use.resource, each)), None)


def _holds(operator: str, found: Collection[str], wanted: Collection[str]) -> bool:
    if operator == "StringEquals":
        return any(each in wanted for each in found)
    if operator == "ForAllValues:StringLike":
        return all(any(fnmatchcase(each, pattern) for pattern in wanted) for each in found)
    raise AssertionError(f"the condition operator {operator} is not understood here")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


class Account:
    """What permissions depend on: the tags and parts of what there is."""

    def __init__(self, moto: Moto) -> None:
        self._moto, self._ec2, self._iam = moto, moto.client("ec2"), moto.client("iam")

    def uses(self, service: str, action: str, parameters: Mapping[str, str]) -> Iterator[Use]:
        """All that a call needs permission for; a launch template that is not there needs none."""
        asked = nested(parameters) if service in ("ec2", "iam") else json.loads(parameters.get("json", "{}"))
        special = {
            "CreateLaunchTemplate": self._create_template,
            "CreateFleet": self._create_fleet,
            "CreateTags": self._create_tags,
            "TerminateInstances": self._terminate,
            "DeleteLaunchTemplate": self._delete_template,
        }
        if action in special:
            with self._moto.busy:
                yield from list(special[action](asked))
        elif service == "iam":
            yield from _profile(action, asked)
        elif service == "sqs":
            name = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
            called = f"sqs:{action}"
            yield Use(_RENAMED.get(called, called), f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
        else:
            yield Use(f"{service}:{action}", "*")

    def _create_template(self, asked: Mapping[str, Any]) -> Iterator[Use]:
        marks = _marks(asked, "launch-template")
        yield Use("ec2:CreateLaunchTemplate", _arn("launch-template", "new"), _requested(marks))
        yield from _tagging("launch-template", marks, "CreateLaunchTemplate")

    def _create_fleet(self, asked: Mapping[str, Any]) -> Iterator[Use]:
        (config,) = asked["LaunchTemplateConfigs"]
        name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
        template = self._template(name)
        if template is None:
            return
        data = self._ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])[
            "LaunchTemplateVersions"
        ][0]["LaunchTemplateData"]
        places = {each["SubnetId"] for each in config["Overrides"]}
        for action in ("ec2:CreateFleet", "ec2:RunInstances"):
            yield Use(action, _arn("launch-template", template["LaunchTemplateId"]), _owned(_pairs(template)))
            for resource in _parts(data, places):
                yield Use(action, resource)
            for kind in ("fleet", "instance", "network-interface", "volume"):
                if (kind, action) != ("fleet", "ec2:RunInstances"):
                    yield Use(action, _arn(kind, "new"), _requested(_marks(asked, kind)))
        kinds = {each["ResourceType"] for each in asked["TagSpecification"]}
        if asked["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "spot":
            yield Use(
                *("ec2:RunInstances", _arn("spot-instances-request", "new")),
                _requested(_marks(asked, "spot-instances-request")),
            )
        for kind in sorted(kinds):
            born = "CreateFleet" if kind == "fleet" else "RunInstances"
            yield from _tagging(kind, _marks(asked, kind), born)
        profile = self._iam.get_instance_profile(InstanceProfileName=data["IamInstanceProfile"]["Name"])
        for role in profile["InstanceProfile"]["Roles"]:
            yield _passed(role["RoleName"])

    def _create_tags(self, asked: Mapping[str, Any]) -> Iterator[Use]:
        marks = {each["Key"]: each["Value"] for each in asked["Tag"]}
        for id_ in asked["ResourceId"]:
            yield Use("ec2:CreateTags", _arn("instance", id_), _requested(marks) | _owned(self._tags(id_)))

    def _terminate(self, asked: Mapping[str, Any]) -> Iterator[Use]:
        for id_ in asked["InstanceId"]:
            yield Use("ec2:TerminateInstances", _arn("instance", id_), _owned(self._tags(id_)))

    def _delete_template(self, asked: Mapping[str, Any]) -> Iterator[Use]:
        template = self._template(asked["LaunchTemplateName"])
        if template is not None:
            resource = _arn("launch-template", template["LaunchTemplateId"])
            yield Use("ec2:DeleteLaunchTemplate", resource, _owned(_pairs(template)))

    def _template(self, name: str) -> dict[str, Any] | None:
        known: list[dict[str, Any]] = self._ec2.describe_launch_templates()["LaunchTemplates"]
        return next((each for each in known if each["LaunchTemplateName"] == name), None)

    def _tags(self, id_: str) -> dict[str, str]:
        found = self._ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [id_]}])["Tags"]
        return {each["Key"]: each["Value"] for each in found}


def _profile(action: str, asked: Mapping[str, Any]) -> Iterator[Use]:
    resource = f"arn:aws:iam::{ACCOUNT}:instance-profile/{asked['InstanceProfileName']}"
    yield Use(f"iam:{action}", resource)
    if action == "CreateInstanceProfile" and "Tags" in asked:
        yield Use("iam:TagInstanceProfile", resource)
    if action == "AddRoleToInstanceProfile":
        yield _passed(asked["RoleName"])


def _parts(data: Mapping[str, Any], subnets: Collection[str]) -> Iterator[str]:
    """What instances are made of that is there already."""
    yield f"arn:aws:ec2:{REGION}::image/{data['ImageId']}"
    cards = data.get("NetworkInterfaces", ())
    groups = {*data.get("SecurityGroupIds", ()), *(group for card in cards for group in card.get("Groups", ()))}
    reservation = data.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget", {})
    named = {
        "subnet": subnets,
        "security-group": groups,
        "placement-group": [name for name in [data.get("Placement", {}).get("GroupName")] if name],
        "capacity-reservation": reservation.values(),
    }
    yield from (_arn(kind, each) for kind, ids in named.items() for each in sorted(ids))
    for disk in data.get("BlockDeviceMappings", ()):
        if snapshot := disk.get("Ebs", {}).get("SnapshotId"):
            yield f"arn:aws:ec2:{REGION}::snapshot/{snapshot}"


def _tagging(kind: str, marks: Mapping[str, str], born: str) -> Iterator[Use]:
    if marks:
        yield Use("ec2:CreateTags", _arn(kind, "new"), {**_requested(marks), "ec2:CreateAction": [born]})


def _passed(role: str) -> Use:
    resource = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    return Use("iam:PassRole", resource, {"iam:PassedToService": ["ec2.amazonaws.com"]})


def _arn(kind: str, id_: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/{id_}"


def _marks(asked: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {
        mark["Key"]: mark["Value"]
        for each in asked.get("TagSpecification", ())
        if each["ResourceType"] == kind
        for mark in each["Tag"]
    }


def _pairs(described: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in described.get("Tags", ())}


def _requested(marks: Mapping[str, str]) -> dict[str, Collection[str]]:
    return {"aws:TagKeys": list(marks), **{f"aws:RequestTag/{key}": [value] for key, value in marks.items()}}


def _owned(marks: Mapping[str, str]) -> dict[str, Collection[str]]:
    return {f"aws:ResourceTag/{key}": [value] for key, value in marks.items()}
