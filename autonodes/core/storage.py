"""Storage as far as scheduling is concerned: claims, volumes, classes, and what nodes can attach.

Values only; `autonodes.core.volumes` says what follows from them for pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autonodes.core.requirements import Requirements


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of a pod that a PersistentVolumeClaim stands for.

    :param name: of the volume in the pod's spec
    :param claim: name of the claim, in the pod's namespace
    :param ephemeral: a generic ephemeral volume, whose claim is made for the pod (and may not be there yet)
    :param storage_class: of an ephemeral volume's template; None for the cluster's default class
    """

    name: str
    claim: str
    ephemeral: bool = False
    storage_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeClaim:
    """A PersistentVolumeClaim.

    :param volume: name of the PersistentVolume that it names, or ""
    :param bound: the binding is complete (annotation ``pv.kubernetes.io/bind-completed``)
    :param storage_class: None if it names none; "" if it wants none, which rules provisioning out
    :param storage: bytes that it asks for
    :param once_per_pod: access mode ReadWriteOncePod
    :param selected_node: name of the node for which a volume is being provisioned, or ""
    :param owner: UID of the controlling object, the pod of an ephemeral volume, or ""
    """

    namespace: str
    name: str
    volume: str = ""
    bound: bool = False
    lost: bool = False
    storage_class: str | None = None
    storage: int = 0
    once_per_pod: bool = False
    selected_node: str = ""
    owner: str = ""
    leaving: bool = False

    @property
    def key(self) -> str:
        """``namespace/name``"""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A PersistentVolume.

    :param terms: OR-ed, where it can be reached; empty for everywhere
    :param driver: of its CSI driver, also the one that an in-tree plugin was moved to; "" for any other
    :param free: no claim has it
    """

    name: str
    terms: tuple[Requirements, ...] = ()
    driver: str = ""
    storage_class: str = ""
    storage: int = 0
    free: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """:param driver: its provisioner, as `Volume.driver`
    :param provisions: False if its volumes are made by hand (``kubernetes.io/no-provisioner``)
    :param immediate: volumes are bound before a pod is scheduled (volumeBindingMode Immediate)
    :param terms: OR-ed, allowedTopologies; empty for everywhere
    """

    name: str
    driver: str
    provisions: bool = True
    immediate: bool = True
    default: bool = False
    terms: tuple[Requirements, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What a cluster has, at one moment.

    :param claims: by ``namespace/name``
    :param attach_limits: node name → driver → how many volumes of it the node can attach; a driver that is not in it
        has no limit there
    """

    claims: Mapping[str, VolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    classes: Mapping[str, StorageClass] = field(default_factory=dict)
    attach_limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
