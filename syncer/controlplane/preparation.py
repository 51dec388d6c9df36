"""Everything that must be on the disk before the first process starts. Safe to repeat, cheap when nothing changed."""

from __future__ import annotations

import socket
from datetime import datetime

from syncer import pki
from syncer.controlplane import apiserver, kubeconfigs, scheduler
from syncer.controlplane.settings import LOOPBACK, ControlPlane
from syncer.files import make_private_directory, write_atomically
from syncer.pki import FRONT_PROXY_CA, Leaf

ADMIN = "admin"
CONTROLLER = "controller"
KONNECTIVITY = "konnectivity-server"
KWOK = "kwok"
CONTROLLER_USER = "autonodes:controller"
KWOK_USER = "autonodes:kwok"
KONNECTIVITY_USER = "autonodes:konnectivity-server"
KUBELET_ADMINS = "autonodes:kubelet-api-admins"
"""Group of the certificate with which the API server goes to kubelets."""

COMPONENT_USERS = ("controller-manager", "scheduler", CONTROLLER, KONNECTIVITY, KWOK)
"""Each has a kubeconfig of its own, named like its client certificate."""

KONNECTIVITY_SERVING = "konnectivity-serving"
"""What agents see when they dial in; signed by the cluster CA, which every pod is given."""


def prepare(plane: ControlPlane, *, now: datetime) -> frozenset[str]:
    """Make directories, certificates, kubeconfigs and configuration files.

    :returns: names of the certificates that were issued or renewed
    :raises EnvironmentFault: the PKI is damaged
    :raises OSError: disk full, no permission
    """
    for directory in (plane.state_dir, plane.run_dir, plane.config_dir, plane.database.parent):
        make_private_directory(directory)
    make_private_directory(plane.state_dir / "kubeconfigs")
    issued = pki.ensure(plane.pki, leaves(plane), now=now)
    for name, content in {**apiserver.config_files(plane), **scheduler.config_files(plane)}.items():
        write_atomically(plane.config_dir / name, content)
    kubeconfigs.write(plane.admin_kubeconfig, pki=plane.pki, user=ADMIN, server=plane.url, cluster=plane.name)
    for user in COMPONENT_USERS:
        path = plane.kubeconfig(user)
        kubeconfigs.write(path, pki=plane.pki, user=user, server=plane.url, cluster=plane.name)
    return issued


def leaves(plane: ControlPlane) -> list[Leaf]:
    hosts = serving_hosts(plane)
    return [
        Leaf(name=apiserver.SERVING, common_name="kube-apiserver", hosts=hosts),
        Leaf(
            name=apiserver.KUBELET_CLIENT,
            common_name="kube-apiserver-kubelet-client",
            organizations=(KUBELET_ADMINS,),
        ),
        Leaf(
            name=apiserver.FRONT_PROXY_CLIENT,
            common_name=apiserver.FRONT_PROXY_CLIENT,
            issuer=FRONT_PROXY_CA,
        ),
        Leaf(name=ADMIN, common_name="kubernetes-admin", organizations=("system:masters",)),
        Leaf(name="controller-manager", common_name="system:kube-controller-manager"),
        Leaf(name="scheduler", common_name="system:kube-scheduler"),
        Leaf(name=CONTROLLER, common_name=CONTROLLER_USER),
        Leaf(name=KONNECTIVITY, common_name=KONNECTIVITY_USER),
        Leaf(name=KWOK, common_name=KWOK_USER),
        Leaf(name=KONNECTIVITY_SERVING, common_name="konnectivity-server", hosts=hosts),
    ]


def serving_hosts(plane: ControlPlane) -> tuple[str, ...]:
    """Under which the API server and the Konnectivity server are reached: from here, by nodes, and by pods."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    names = ("localhost", socket.gethostname(), *service, f"kubernetes.default.svc.{plane.cluster_domain}")
    addresses = (LOOPBACK, plane.advertise_address, plane.service_ip)
    return tuple(dict.fromkeys((*names, "konnectivity-server", *addresses, *plane.extra_hosts)))
