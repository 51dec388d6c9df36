"""The instance profile by which machines take their role: a given one, or one made for the node class's role.

A profile made here is called ``autonodes-CLUSTER-ROLE``, is shared by the node classes of that role, and stays.
"""

from __future__ import annotations

import hashlib
from typing import Final

from autonodes.api.awsnodeclass import AWSNodeClassSpec
from autonodes.provider import NodeClassNotReadyError
from providers.aws.calls import Calls
from providers.aws.faults import AwsError, Fault

_LONGEST: Final = 128


async def ensure_profile(calls: Calls, spec: AWSNodeClassSpec, *, cluster: str) -> str:
    """Its name.

    :raises NodeClassNotReadyError: the given profile, or the role, is not there or may not be used
    :raises AwsError: it can't be known now
    """
    if spec.role is None:
        name = str(spec.instance_profile)
        if await _role_of(calls, name) is None:
            raise NodeClassNotReadyError(f"spec.instanceProfile: {name!r}: no such profile with a role; create it")
        return name
    name = profile_name(cluster, spec.role)
    found = await _role_of(calls, name)
    if found is None:
        await _make(calls, name, spec.role, cluster)
    return name


def profile_name(cluster: str, role: str) -> str:
    """Of the profile that is made for a role."""
    name = f"autonodes-{cluster}-{role}"
    return name if len(name) <= _LONGEST else f"autonodes-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


async def _role_of(calls: Calls, name: str) -> str | None:
    try:
        answer = await calls.call("iam", "GetInstanceProfile", InstanceProfileName=name)
    except AwsError as error:
        if error.fault is Fault.NOT_FOUND:
            return None
        raise
    roles = answer["InstanceProfile"]["Roles"]
    return str(roles[0]["RoleName"]) if roles else None


async def _make(calls: Calls, name: str, role: str, cluster: str) -> None:
    tags = [{"Key": "autonodes:cluster", "Value": cluster}]
    try:
        await calls.call("iam", "CreateInstanceProfile", InstanceProfileName=name, Tags=tags)
    except AwsError as error:
        if error.fault is not Fault.EXISTS:
            raise
    try:
        await calls.call("iam", "AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=role)
    except AwsError as error:
        if error.code == "LimitExceeded":  # somebody else was faster: a profile has one role
            return
        if error.fault is Fault.NOT_FOUND:
            raise NodeClassNotReadyError(f"spec.role: {role!r}: there is no such role; create it") from error
        if error.fault is Fault.DENIED:
            raise NodeClassNotReadyError(
                f"spec.role: {role!r}: the credentials may not give it to machines ({error.message}): allow "
                "iam:PassRole on it (docs/aws.md), or name another"
            ) from error
        raise
