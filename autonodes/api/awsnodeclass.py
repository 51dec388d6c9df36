"""``AWSNodeClass``: what EC2 machines are made of. Fields are called as in Karpenter's EC2NodeClass where it has them.

Whatever a selector term leaves open matches; all that one term names must match; what any term matches is taken. An id
stands alone. A selector looks things up in the account again and again, so that a new image or subnet is found (and
makes drift of the machines that were bought before).
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from autonodes.api import columns
from autonodes.api.columns import column
from autonodes.api.nodeclass import NodeClassStatus
from autonodes.api.objects import CustomResource, Model, ObjectMeta, Quantity, cel, fault

_MOST_TERMS: Final = 30
_MOST_TAGS: Final = 20
_TAG_KEY: Final = re.compile(r"[A-Za-z0-9+=.,_:@-]{1,128}")
"""EC2 shows a machine its own tags only if their keys keep to these characters."""
_OWN_TAGS: Final = ("autonodes:", "aws:")

_TERM: Final = "give at least one of tags, id and name"
_ALONE: Final = "an id stands alone: leave out tags and name"
_IDENTITY: Final = "give exactly one of role and instanceProfile"
_KEYS: Final = "write keys of 1 to 128 of the characters A-Z a-z 0-9 + - = . , _ : @ only"
_OWN: Final = "tags that begin with autonodes: or aws: are set by the provider and by AWS: use another prefix"
_ROOT: Final = "at most one block device can be the root volume"


def _usable(tags: dict[str, str]) -> dict[str, str]:
    if not all(_TAG_KEY.fullmatch(key) for key in tags):
        raise fault(_KEYS)
    if any(key.startswith(_OWN_TAGS) for key in tags):
        raise fault(_OWN)
    return tags


def _at_least_one(terms: tuple[SelectorTerm, ...]) -> tuple[SelectorTerm, ...]:
    if not terms:
        raise fault("give at least one term")
    return terms


T = TypeVar("T")
# not pydantic's own min_length: it would blame the list for a term that is wrong
Terms = Annotated[
    tuple[T, ...],
    Field(max_length=_MOST_TERMS, json_schema_extra={"minItems": 1}),
    AfterValidator(_at_least_one),
]
TagValue = Annotated[str, Field(max_length=256)]
SelectorTags = Annotated[dict[str, TagValue], Field(max_length=_MOST_TAGS, min_length=1)]
"""Tag → value; ``*`` for any value."""
OwnTags = Annotated[
    dict[str, TagValue],
    Field(
        max_length=_MOST_TAGS,
        json_schema_extra=cel(
            (f"self.all(key, key.matches('^{_TAG_KEY.pattern}$'))", _KEYS),
            ("self.all(key, !key.startsWith('autonodes:') && !key.startsWith('aws:'))", _OWN),
        ),
    ),
    AfterValidator(_usable),
]


def _term_rules(alone: str = "has(self.tags) || has(self.name)") -> JsonDict:
    return cel(
        ("has(self.tags) || has(self.id) || has(self.name)", _TERM),
        (f"!has(self.id) || !({alone})", _ALONE),
    )


class SelectorTerm(Model):
    model_config = ConfigDict(json_schema_extra=_term_rules())

    tags: SelectorTags | None = None
    """Tags that it has; * for any value."""
    id: Annotated[str, Field(max_length=64)] | None = None
    """Its id."""
    name: Annotated[str, Field(max_length=256, min_length=1)] | None = None
    """Its name (of a subnet and a capacity reservation: the tag Name)."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.tags is None and self.id is None and self.name is None:
            raise fault(_TERM)
        if self.id is not None and (self.tags is not None or self.name is not None):
            raise fault(_ALONE, at="id")
        return self


class SubnetTerm(SelectorTerm):
    id: Annotated[str, Field(pattern=r"^subnet-[0-9a-z]+$")] | None = None
    """subnet-..."""


class SecurityGroupTerm(SelectorTerm):
    id: Annotated[str, Field(pattern=r"^sg-[0-9a-z]+$")] | None = None
    """sg-..."""


class CapacityReservationTerm(SelectorTerm):
    id: Annotated[str, Field(pattern=r"^cr-[0-9a-z]+$")] | None = None
    """cr-..."""


class AMITerm(SelectorTerm):
    id: Annotated[str, Field(pattern=r"^ami-[0-9a-z]+$")] | None = None
    """ami-..."""
    owner: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z-]+$")] = "self"
    """Account id, self or amazon. Only images of this owner are looked for by tag or name."""


class BlockDevice(Model):
    volume_size: Quantity = "20Gi"
    """Rounded up to whole GiB."""
    volume_type: Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"] = "gp3"
    """EBS' name of the kind of disk."""
    iops: int | None = Field(default=None, strict=True, ge=100, le=256000)
    """Operations a second; for gp3, io1 and io2."""
    throughput: int | None = Field(default=None, strict=True, ge=125, le=2000)
    """MiB a second."""
    encrypted: bool = True
    """At rest."""
    kms_key_id: Annotated[str, Field(max_length=2048)] | None = Field(default=None, alias="kmsKeyID")
    """Key for it; the account's default key if not given."""
    snapshot_id: Annotated[str, Field(pattern=r"^snap-[0-9a-z]+$")] | None = Field(default=None, alias="snapshotID")
    """What is on it at first."""
    delete_on_termination: bool = True
    """Whether it goes with its machine."""


class BlockDeviceMapping(Model):
    device_name: Annotated[str, Field(min_length=1, max_length=64)]
    """Such as /dev/xvda."""
    ebs: BlockDevice = Field(default_factory=BlockDevice)
    """The disk."""
    root_volume: bool = False
    """Its size is what pods have as ephemeral storage."""


class MetadataOptions(Model):
    """The machine's own metadata service. IMDSv2 is required: without its session a pod's request could be forged."""

    http_endpoint: Literal["enabled"] = "enabled"
    """The machine learns there who it is."""
    http_tokens: Literal["required"] = "required"
    """IMDSv2 only."""
    http_put_response_hop_limit: int = Field(default=1, strict=True, ge=1, le=64)
    """1 keeps pods that have an address of their own away from it."""
    http_protocol_ipv6: Literal["enabled", "disabled"] = Field(default="disabled", alias="httpProtocolIPv6")
    """Whether it answers on IPv6 as well."""


class AWSNodeClassSpec(Model):
    model_config = ConfigDict(
        json_schema_extra=cel(("has(self.role) != has(self.instanceProfile)", _IDENTITY)),
    )

    ami_selector_terms: Terms[AMITerm]
    """The images: the newest of each architecture is taken."""
    subnet_selector_terms: Terms[SubnetTerm]
    """The subnets; their zones are those that nodes can be in."""
    security_group_selector_terms: Terms[SecurityGroupTerm]
    """The security groups of every machine."""
    capacity_reservation_selector_terms: Annotated[
        tuple[CapacityReservationTerm, ...], Field(max_length=_MOST_TERMS)
    ] = ()
    """Paid capacity, offered as capacity type reserved."""
    placement_group: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Name of the placement group that all machines are in."""
    role: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name of the machines' role; its instance profile is made by the provider."""
    instance_profile: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Name of an instance profile that is there."""
    user_data: Annotated[str, Field(max_length=12288)] | None = None
    """Run before the machine joins: a script, cloud-config, or a MIME document of several."""
    block_device_mappings: Annotated[
        tuple[BlockDeviceMapping, ...],
        Field(
            max_length=25,
            json_schema_extra=cel(("self.filter(each, has(each.rootVolume) && each.rootVolume).size() <= 1", _ROOT)),
        ),
    ] = ()
    """Without any, those of the image."""
    metadata_options: MetadataOptions = Field(default_factory=MetadataOptions)
    """How a machine asks who it is."""
    tags: OwnTags = Field(default_factory=dict)
    """On machines, volumes and network interfaces."""
    tenancy: Literal["default", "dedicated"] = "default"
    """Dedicated machines share their host with nobody else's account; they are not bought as spot."""
    associate_public_ip_address: bool | None = Field(default=None, alias="associatePublicIPAddress")
    """As the subnet says if not given."""
    detailed_monitoring: bool = False
    """CloudWatch's figures a minute apart, at a price."""
    efa: bool = False
    """Attach the Elastic Fabric Adapters of types that have them, for vpc.amazonaws.com/efa."""
    max_pods: int | None = Field(default=None, strict=True, ge=1, le=1024)
    """As many as the type's network interfaces have addresses if not given."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.role is None) == (self.instance_profile is None):
            raise fault(_IDENTITY, at="role")
        if sum(each.root_volume for each in self.block_device_mappings) > 1:
            raise fault(_ROOT, at="blockDeviceMappings")
        return self


class AWSNodeClass(CustomResource):
    """Nodes that are EC2 machines."""

    plural: ClassVar = "awsnodeclasses"
    categories: ClassVar = ("karpenter",)
    short_names: ClassVar = ("awsnc",)
    columns: ClassVar = (columns.READY, columns.AGE, column("Role", ".spec.role", wide=True))

    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["AWSNodeClass"] = "AWSNodeClass"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: AWSNodeClassSpec
    status: NodeClassStatus = Field(default_factory=NodeClassStatus)
