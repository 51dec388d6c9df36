"""``vcluster.yaml``: a cluster's configuration, in vCluster's tree.

Only what works today is known; everything else is refused with its path and the nearest known key, so that nobody is
told "yes" by silence. What can't be anything else today (standalone, SQLite, private nodes) may be written, for the
files that people have, and takes its only value.

A pool of `autoNodes` becomes a `karpenter.sh/v1` NodePool, and its provider one node class that all its pools share:
see `autonodes.api.autonodes`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from autonodes.api.deviceplugin import NvidiaDevicePlugin
from autonodes.api.nodepool import Budget, ConsolidationPolicy
from autonodes.api.objects import Duration, Int32, LabelValue, Model, NillableDuration, Quantity, fault
from autonodes.api.podtopologyspread import PodTopologySpread
from autonodes.api.scheduling import NODE_POOL_MESSAGE, Taint, restriction
from autonodes.api.validation import validate
from autonodes.core import labels
from autonodes.core.errors import ConfigError, EnvironmentFault, InvalidDocumentError
from autonodes.core.money import MOST_DOLLARS, cost_limit

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SMALLEST_SERVICE_RANGE: Final = 24
_NODE_RANGE: Final = 24


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise fault(f"write a network such as 10.244.0.0/16: {error}") from None
    if network.version != 4:
        raise fault("only IPv4 works today: write a network such as 10.244.0.0/16")
    return value


def _service_network(value: str) -> str:
    if ipaddress.ip_network(_network(value)).prefixlen > _SMALLEST_SERVICE_RANGE:
        raise fault(f"too small for services: at most /{_SMALLEST_SERVICE_RANGE}")
    return value


def _pod_network(value: str) -> str:
    if ipaddress.ip_network(_network(value)).prefixlen >= _NODE_RANGE:
        raise fault(f"too small: each node takes a /{_NODE_RANGE} of it")
    return value


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise fault("write an IP address, such as 0.0.0.0") from None
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _HOST.fullmatch(value) or len(value) > 253:
            raise fault("write a DNS name or an IP address, without a port") from None
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise fault("a name is made of a-z, 0-9 and '-', with a letter or digit at both ends, at most 63 characters")
    return value


def _node_labels(value: dict[str, str]) -> dict[str, str]:
    for key in value:
        if reason := NODE_POOL_MESSAGE if key == labels.NODE_POOL else restriction(key):
            raise fault(reason, at=key)
    return value


Name = Annotated[str, AfterValidator(_name)]
Dollars = Annotated[float, Field(strict=True, ge=0, le=MOST_DOLLARS)]
Host = Annotated[str, AfterValidator(_host)]


class Embedded(Model):
    enabled: Literal[True] = True
    """SQLite through kine, the only store today."""


class Database(Model):
    embedded: Embedded = Field(default_factory=Embedded)


class BackingStore(Model):
    database: Database = Field(default_factory=Database)


class Proxy(Model):
    """Where the API server listens."""

    bind_address: Annotated[str, AfterValidator(_address)] = "0.0.0.0"  # noqa: S104 -- nodes come in by another link
    """The address that it is bound to; the nodes' link to this machine must be among what it covers."""
    port: int | None = Field(default=None, strict=True, ge=1, le=65535)
    """The port; without it 6443 or the next free one, and then the same for ever."""
    extra_sans: tuple[Host, ...] = Field(default=(), alias="extraSANs")
    """Further DNS names and addresses for its certificate."""


class JoinNode(Model):
    enabled: Literal[False] = False
    """This machine runs no pods of its own accord; its nodes do."""


class Standalone(Model):
    enabled: Literal[True] = True
    """A control plane without a host cluster, the only kind today."""
    join_node: JoinNode = Field(default_factory=JoinNode)


class Scheduler(Model):
    pod_topology_spread: PodTopologySpread = Field(default_factory=PodTopologySpread)
    """The spread of pods that have no constraints of their own; kube-scheduler and the planner keep it."""

    @property
    def arguments(self) -> str:
        """JSON of kube-scheduler's PodTopologySpreadArgs; "" for its own defaults."""
        if self.pod_topology_spread == PodTopologySpread():
            return ""
        return self.pod_topology_spread.model_dump_json(by_alias=True, exclude_none=True)


class K8s(Model):
    scheduler: Scheduler = Field(default_factory=Scheduler)


class Distro(Model):
    """How the parts of Kubernetes are set."""

    k8s: K8s = Field(default_factory=K8s, alias="k8s")


class ControlPlane(Model):
    standalone: Standalone = Field(default_factory=Standalone)
    distro: Distro = Field(default_factory=Distro)
    backing_store: BackingStore = Field(default_factory=BackingStore)
    proxy: Proxy = Field(default_factory=Proxy)
    endpoint: Host | None = None
    """Under which other machines reach the API server; it goes into the certificate and the kubeconfig."""


class AdvancedNetworking(Model):
    cluster_domain: Annotated[str, AfterValidator(_host)] = "cluster.local"
    """The domain of the cluster's DNS."""


class Networking(Model):
    """Fixed for the life of the cluster."""

    service_cidr: Annotated[str, AfterValidator(_service_network)] = Field(default="10.96.0.0/12", alias="serviceCIDR")
    """The addresses of services."""
    pod_cidr: Annotated[str, AfterValidator(_pod_network)] = Field(default="10.244.0.0/16", alias="podCIDR")
    """The addresses of pods."""
    advanced: AdvancedNetworking = Field(default_factory=AdvancedNetworking)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if ipaddress.ip_network(self.service_cidr).overlaps(ipaddress.ip_network(self.pod_cidr)):
            raise fault("it overlaps serviceCIDR: write two networks without a common address", at="podCIDR")
        return self


class NodeTypeRequirement(Model):
    """What a node type must have."""

    property: str = Field(min_length=1)
    """instance-type, zone, region, capacity-type, arch, os, or a label such as node.kubernetes.io/instance-type."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = "In"
    """How the property relates to the values."""
    values: tuple[LabelValue, ...] = ()
    """At least one for In and NotIn; a single whole number for Gt and Lt; none for Exists and DoesNotExist."""

    @model_validator(mode="after")
    def _values_fit_the_operator(self) -> Self:
        if self.operator in ("In", "NotIn") and not self.values:
            raise fault(f"operator {self.operator} needs at least one value", at="values")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise fault(f"operator {self.operator} takes no values", at="values")
        if self.operator in ("Gt", "Lt") and not (len(self.values) == 1 and self.values[0].isdecimal()):
            raise fault(f"operator {self.operator} needs exactly one value, a whole number in quotes", at="values")
        return self


class PoolDisruption(Model):
    consolidate_after: NillableDuration = "30s"
    """How long a node must be left alone by pods before it counts as idle or badly used."""
    consolidation_policy: ConsolidationPolicy = "WhenEmptyOrUnderutilized"
    """Which nodes consolidation may touch."""
    budgets: tuple[Budget, ...] = Field(default=(Budget(nodes="10%"),), max_length=50)
    """Limits on how many nodes go at once; the tightest of those that are active holds."""


class DynamicPool(Model):
    """Nodes that come when pods need them."""

    name: Name
    """Of the NodePool; different from all others in this file."""
    node_type_selector: tuple[NodeTypeRequirement, ...] = Field(default=(), max_length=100)
    """Which node types will do; any that the provider has, without it."""
    taints: tuple[Taint, ...] = ()
    """Taints of its nodes."""
    node_labels: Annotated[dict[str, LabelValue], AfterValidator(_node_labels)] = Field(default_factory=dict)
    """Labels of its nodes."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """No more is bought than this, over all nodes of the pool; "nodes" counts the nodes themselves."""
    max_hourly_cost: Dollars | None = None
    """Dollars an hour that its nodes may cost together, those on their way included."""
    max_monthly_cost: Dollars | None = None
    """Dollars in a month of 730 hours; the smaller of both limits holds."""
    weight: Annotated[Int32, Field(ge=1, le=100)] | None = None
    """Pools of a higher weight are asked first."""
    disruption: PoolDisruption = Field(default_factory=PoolDisruption)
    """When its nodes may be replaced or given back."""
    expire_after: NillableDuration | None = None
    """A node older than this is replaced; 720h without it."""
    termination_grace_period: Duration | None = None
    """How long a node's drain may take."""


class AutoNodes(Model):
    """A provider and the pools that buy from it."""

    provider: Name
    """local (nodes on this machine), kwok (simulated nodes), or another that is installed."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Settings of the provider; zones, separated by commas, are those of its node class."""
    dynamic: tuple[DynamicPool, ...] = ()
    """Its pools."""


class PrivateNodes(Model):
    enabled: Literal[True] = True
    """The cluster has nodes of its own, the only kind today."""
    max_hourly_cost: Dollars | None = None
    """Dollars an hour that the nodes of all pools may cost together, those on their way included."""
    max_monthly_cost: Dollars | None = None
    """Dollars in a month of 730 hours; the smaller of both limits holds."""
    metrics_port: int | None = Field(default=None, strict=True, ge=1, le=65535)
    """The port of this machine's loopback on which the controller serves Prometheus metrics; none without it."""
    preference_policy: Literal["Respect", "Ignore"] = "Respect"
    """Whether what pods prefer decides where it costs nothing."""
    min_values_policy: Literal["Strict", "BestEffort"] = "Strict"
    """Whether nodes are bought that leave less of a choice than minValues of their NodePool ask for."""
    auto_nodes: tuple[AutoNodes, ...] = ()
    """Where nodes come from; without it, nodes on this machine in a pool called default."""


class Deploy(Model):
    """What is put into the cluster beside what every node needs."""

    nvidia_device_plugin: NvidiaDevicePlugin = Field(default_factory=NvidiaDevicePlugin)


class VClusterConfig(Model):
    control_plane: ControlPlane = Field(default_factory=ControlPlane)
    networking: Networking = Field(default_factory=Networking)
    private_nodes: PrivateNodes = Field(default_factory=PrivateNodes)
    deploy: Deploy = Field(default_factory=Deploy)

    def providers(self) -> tuple[str, ...]:
        """Names of the providers, in the file's order."""
        return tuple(each.provider for each in self.private_nodes.auto_nodes)

    def limits(self) -> dict[str, int]:
        """Of all pools together, for the planner."""
        return cost_limit(self.private_nodes.max_hourly_cost, self.private_nodes.max_monthly_cost)

    def with_metrics_port(self, port: int) -> Self:
        """The same, with metrics served there."""
        return self.model_copy(update={"private_nodes": self.private_nodes.model_copy(update={"metrics_port": port})})

    def dump(self) -> str:
        """As YAML, with what was set and nothing else; `parse` gives the same back."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True, exclude_unset=True), sort_keys=False)


def with_provider(provider: str) -> VClusterConfig:
    """The configuration of a user who gave none: one pool, ``default``, of that provider."""
    document = {"privateNodes": {"autoNodes": [{"provider": provider, "dynamic": [{"name": "default"}]}]}}
    return validate(VClusterConfig, document, source="the default configuration")


def load(path: Path) -> VClusterConfig:
    """:raises ConfigError: with everything that is wrong in the file
    :raises EnvironmentFault: the file can't be read
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"{path} can't be read", str(error)) from error
    return parse(text, source=str(path))


def parse(text: str, *, source: str) -> VClusterConfig:
    """:raises ConfigError: with everything that is wrong in it"""
    try:
        document: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError(where, None, f"this is not YAML: {getattr(error, 'problem', None) or error}") from None
    config = validate(VClusterConfig, {} if document is None else document, source=source)
    if repeated := list(_repetitions(config.private_nodes.auto_nodes)):
        raise InvalidDocumentError(source, repeated)
    return config


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is there twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep=deep)


def _repetitions(auto_nodes: Sequence[AutoNodes]) -> Iterator[ConfigError]:
    providers: set[str] = set()
    pools: set[str] = set()
    for i, each in enumerate(auto_nodes):
        path = f"privateNodes.autoNodes[{i}]"
        if each.provider in providers:
            yield ConfigError(f"{path}.provider", each.provider, "it is there already: put its pools together")
        providers.add(each.provider)
        for j, pool in enumerate(each.dynamic):
            if pool.name in pools:
                yield ConfigError(f"{path}.dynamic[{j}].name", pool.name, "another pool has this name: choose another")
            pools.add(pool.name)
