"""The provider contract: what a plug-in promises, and the few errors by which it drives decisions.

A provider is found through the entry-point group ``autonodes.providers``; the entry point names a class that is
called with one :class:`ProviderContext`. Providers may import ``autonodes.{core,api,kube,provider}`` and nothing
else of this project.

The controller may be killed between any two lines. So `create` is idempotent on the claim's UID, the UID is
recorded on the machine *before* it boots, and `list` is complete: every machine of this cluster that may exist or
cost money is in it, or it raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NewType, Protocol

from autonodes.core.errors import AutonodesError

if TYPE_CHECKING:
    from autonodes.core.model import InstanceType, Offering, Taint
    from autonodes.kube.client import KubeClient

ProviderID = NewType("ProviderID", str)
"""As in ``Node.spec.providerID``: ``local://CLUSTER/CLAIM-UID``, ``aws:///zone/i-…``. Unique for ever."""


class ProviderError(AutonodesError):
    """A provider's fault that has no better name; the call may be repeated."""


class MachineNotFoundError(ProviderError):
    """The machine does not exist (any more). From `delete` it is the proof that lets the finalizer go."""

    def __init__(self, provider_id: str) -> None:
        super().__init__(provider_id)
        self.provider_id = provider_id

    def __str__(self) -> str:
        return f"no machine {self.provider_id}"


class InsufficientCapacityError(ProviderError):
    """None of the offered types could be had now. Nothing was bought, and the next plan goes elsewhere: the controller
    leaves the offerings alone for a while (`autonodes.core.availability`); a provider that knows more of them says so
    in `instance_types`.

    :param offerings: type, zone and capacity type of those that were refused; empty for all candidates of the request
    """

    def __init__(self, message: str, *, offerings: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(message)
        self.offerings = tuple(offerings)


class NodeClassNotReadyError(ProviderError):
    """The node class can't be used yet (or is wrong); nothing was bought."""


class CreateError(ProviderError):
    """The launch failed for a reason that a user can mend; nothing was bought.

    :param reason: CamelCase, for the condition's reason
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What the provider knows of a machine and the join configuration needs.

    :param provider_id: goes to ``Node.spec.providerID``
    :param node_ip: the address that the kubelet reports, None to let it choose
    :param system_reserved: resources hidden from allocatable, in Kubernetes' notation (``{"cpu": "500m"}``)
    :param max_pods: the kubelet's ``maxPods``
    :param cgroup_root: the kubelet's ``cgroupRoot``, None for the machine's own
    :param labels: labels of the machine as bought: instance type, zone, capacity type, arch, os
    :param kubelet: further KubeletConfiguration fields that the machine needs
    """

    provider_id: ProviderID
    node_ip: str | None = None
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    max_pods: int = 110
    cgroup_root: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    kubelet: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFile:
    """A file that must be on the machine before its processes start. ``path`` is absolute on the machine."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class BootProcess:
    """A long-running process of the machine, started in order, restarted when it dies.

    :param argv: the first word is a component's name (``containerd``, ``kubelet``), found in the machine's
        component directory ``/opt/autonodes/bin``
    :param ready_socket: a unix socket on the machine that must accept before the next process starts
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_socket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPlan:
    """All that turns a bare machine into a node: the same paths on every machine (``/etc/kubernetes``,
    ``/var/lib/kubelet``, ``/run/containerd``, ``/opt/cni/bin``, ``/etc/cni/net.d``, ``/opt/autonodes/bin``)."""

    node_name: str
    files: tuple[BootFile, ...]
    processes: tuple[BootProcess, ...]


class Bootstrap(Protocol):
    """How one machine joins; made by the joiner for one claim. Holds a secret: never log it."""

    @property
    def node_name(self) -> str:
        """The only name under which the machine may join; it is the claim's name."""
        ...

    def boot_plan(self, settings: NodeSettings) -> BootPlan:
        """Files and processes for a machine whose file system the provider can write itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """One purchase.

    :param claim_uid: the idempotency key; goes to the machine as a tag before it boots
    :param candidates: what will do, best (cheapest) first: try them in this order
    :param node_class: the node class object as the API server holds it (a dict with ``metadata`` and ``spec``)
    :param labels: all labels of the node to be (pool's, claim's); the provider adds those of the chosen type
    """

    claim_uid: str
    claim_name: str
    node_pool: str
    candidates: tuple[tuple[InstanceType, Offering], ...]
    node_class: Mapping[str, Any]
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    bootstrap: Bootstrap = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as its provider sees it.

    :param state: ``pending`` until it runs; ``running``; ``stopped`` (exists, will not run again by itself);
        ``terminating``
    :param created_at: seconds since the epoch
    :param capacity: resources in integers: cpu in millicores, memory and storage in bytes, others in units
    :param labels: instance type, zone, capacity type, arch, os and the provider's own, as the node will show them
    """

    provider_id: ProviderID
    claim_uid: str
    claim_name: str
    instance_type: str
    zone: str
    capacity_type: str
    state: Literal["pending", "running", "stopped", "terminating"]
    created_at: float
    capacity: Mapping[str, int]
    allocatable: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPolicy:
    """A Node condition that means a broken machine when it lasts longer than ``toleration`` seconds."""

    condition_type: str
    condition_status: str
    toleration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A notice that a machine is going to be taken away.

    :param kind: ``spot`` (somebody pays more), ``maintenance``, or ``host-failure``
    :param at: when the machine stops, in seconds since the epoch; None if that is not known
    :param message: the provider's words, for people
    """

    provider_id: ProviderID
    kind: Literal["spot", "maintenance", "host-failure"]
    at: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What the composition root hands to a provider.

    :param cluster: the cluster's name; a provider never touches a machine of another cluster
    :param state_dir: the cluster's state directory; a provider keeps its files under ``state_dir/NAME``
    :param component_dirs: directories with the pinned binaries (containerd, kubelet, …), searched in order
    :param images: OCI archives (``*.tar``) that every node must hold, so that it needs no registry
    :param uplink: ``100.64.x.y/30``: the link between this host (first address) and machines on it (second);
        the API server answers on the first address
    :param machine_image: a directory with the image for virtual machines that was made from the components:
        ``disk.qcow2``, ``vmlinuz``, ``initrd``; None if none was made
    :param kube: a client of the cluster that the nodes join
    :param options: the provider's own settings
    """

    cluster: str
    state_dir: Path
    component_dirs: tuple[Path, ...]
    images: tuple[Path, ...]
    uplink: str
    kube: KubeClient
    machine_image: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """A source of machines. All calls are coroutines and may be repeated at any time, also concurrently."""

    name: str
    """As in vcluster.yaml's ``provider:`` and ``--provider``."""

    node_class_kind: str
    """The kind of its node class in ``autonodes.io/v1alpha1``."""

    async def start(self) -> None:
        """Prepare; check what the machine must offer.

        :raises EnvironmentFault: it can't work here; the text names the remedy
        """
        ...

    async def close(self) -> None:
        """Release what this process holds. Machines stay."""
        ...

    async def validate(self, node_class: Mapping[str, Any]) -> None:
        """Say whether a node class can be used.

        :raises NodeClassNotReadyError: what is wrong with it, for its ``Ready`` condition
        """
        ...

    async def instance_types(self, node_class: Mapping[str, Any]) -> Sequence[InstanceType]:
        """All types of a node class, the unavailable ones too (their offerings flagged): dropping a type means
        drift of its nodes."""
        ...

    async def create(self, request: LaunchRequest) -> Machine:
        """Buy one machine, once for a claim UID: a repeated call returns the machine that is there already.

        Returns when the machine is on its way; it need not have joined.

        :raises InsufficientCapacityError: none of the candidates can be had; nothing was bought
        :raises NodeClassNotReadyError: nothing was bought
        :raises CreateError: nothing was bought
        """
        ...

    async def delete(self, provider_id: ProviderID) -> None:
        """Start (or go on with) the removal; returning means only that it was triggered. Call again until:

        :raises MachineNotFoundError: nothing is left of it
        """
        ...

    async def get(self, provider_id: ProviderID) -> Machine:
        """:raises MachineNotFoundError: no such machine"""
        ...

    async def list(self) -> Sequence[Machine]:
        """Every machine of this cluster. Complete, or it raises."""
        ...

    async def is_drifted(self, machine: Machine, node_class: Mapping[str, Any]) -> str | None:
        """The reason (CamelCase) why the machine no longer is what its node class asks for, or None."""
        ...

    def repair_policies(self) -> Sequence[RepairPolicy]:
        """Conditions that mean a broken node."""
        ...

    async def interruptions(self) -> Sequence[Interruption]:
        """The notices that are in force: asked every few seconds. One stays in until its machine is gone or it is
        withdrawn, so that nobody has to remember it; an event queue's message is not acknowledged before.

        :raises ProviderError: they can't be known now
        """
        ...
