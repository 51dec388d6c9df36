"""From what a cluster is to be to the processes that make it so: ports, addresses, command lines.

Everything that is chosen is chosen once and remembered (`Record`): kubeconfigs and nodes hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from autonodes.cli import ports, reservations, state, uplinks
from autonodes.cli.settings import Settings
from autonodes.cli.state import Cluster, Record
from syncer.controlplane import apiserver, processes
from syncer.controlplane.preparation import CONTROLLER, KONNECTIVITY, KONNECTIVITY_SERVING, KWOK
from syncer.controlplane.settings import ControlPlane
from syncer.plan import Plan
from syncer.process import Probe, Process

API_PORT: Final = 6443
KONNECTIVITY_PORT: Final = 8132


def choose(cluster: Cluster, settings: Settings, components: Sequence[Path]) -> Record:
    """What holds for the cluster's life, as far as it is not chosen yet.

    :param components: directories that the user named now; none leaves those of an earlier `up`
    :raises EnvironmentFault: no port or address is free
    """
    given = tuple(str(directory) for directory in components)
    if (before := cluster.record()) is not None:
        return replace(
            before,
            settings=settings,
            port=settings.port or before.port,
            components=given or before.components,
        )
    with reservations.choosing():
        record = _first_choice(cluster, settings, given)
        reservations.reserve(cluster.run_dir, (record.port, record.konnectivity_port))
    return record


def _first_choice(cluster: Cluster, settings: Settings, components: tuple[str, ...]) -> Record:
    others = [record for other in state.clusters() if other.name != cluster.name and (record := other.record())]
    taken = reservations.reserved(cluster.run_dir)
    taken |= {port for other in others for port in (other.port, other.konnectivity_port)}
    address = settings.bind_address
    port = settings.port or ports.free_port(API_PORT, address=address, reserved=taken)
    return Record(
        port=port,
        konnectivity_port=ports.free_port(KONNECTIVITY_PORT, address=address, reserved=taken | {port}),
        uplink=uplinks.choose_uplink(str(cluster.directory), taken=(other.uplink for other in others)),
        settings=settings,
        components=components,
    )


def control_plane(cluster: Cluster, record: Record, binaries: Mapping[str, Path]) -> ControlPlane:
    settings = record.settings
    return ControlPlane(
        name=cluster.name,
        state_dir=cluster.directory,
        run_dir=cluster.run_dir,
        binaries=binaries,
        port=record.port,
        bind_address=settings.bind_address,
        advertise_address=uplinks.host_address(record.uplink),
        extra_hosts=settings.hosts,
        service_cidr=settings.service_cidr,
        pod_cidr=settings.pod_cidr,
        cluster_domain=settings.cluster_domain,
        pod_topology_spread=settings.pod_topology_spread,
    )


def plan(cluster: Cluster, record: Record, plane: ControlPlane) -> Plan:
    """All processes of the cluster, in the order of their start."""
    kwok = (_kwok(cluster, plane),) if "kwok" in record.settings.providers else ()
    return Plan(
        run_dir=cluster.run_dir,
        log_dir=cluster.log_dir,
        processes=(
            *processes.processes(plane),
            _konnectivity_server(record, plane),
            *kwok,
            _controller(cluster),
        ),
    )


def _konnectivity_server(record: Record, plane: ControlPlane) -> Process:
    return Process(
        name="konnectivity-server",
        argv=(
            *(sys.executable, "-m", "joiner.konnectivity.server"),
            f"--http-connect-uds={plane.konnectivity_socket}",
            f"--bind-address={plane.bind_address}",
            f"--agent-port={record.konnectivity_port}",
            f"--cert={plane.pki.certificate(KONNECTIVITY_SERVING)}",
            f"--key={plane.pki.key(KONNECTIVITY_SERVING)}",
            f"--kubeconfig={plane.kubeconfig(KONNECTIVITY)}",
            f"--cluster-domain={plane.cluster_domain}",
        ),
        ready=Probe(unix_socket=str(plane.konnectivity_socket)),
        after=(apiserver.NAME,),
    )


def _controller(cluster: Cluster) -> Process:
    return Process(
        name=CONTROLLER,
        argv=(sys.executable, "-m", "autonodes.cli", "controller", "--name", cluster.name),
        env={"AUTONODES_HOME": str(cluster.directory.parent)},
        after=(apiserver.NAME,),
        gate=str(cluster.bootstrapped_file),
    )


def _kwok(cluster: Cluster, plane: ControlPlane) -> Process:
    from providers.kwok.simulator import kwok_command

    command = kwok_command(plane.kubeconfig(KWOK), binary=plane.binaries["kwok"], pod_cidr=plane.pod_cidr)
    return Process(name=KWOK, argv=tuple(command), after=(apiserver.NAME,), gate=str(cluster.bootstrapped_file))
