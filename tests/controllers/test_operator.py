"""kopf in our program: it serves, it is restarted when it goes blind, and it takes nothing down with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from autonodes.kube.client import KubeClient
from autonodes.kube.kubeconfig import Credentials, load_kubeconfig
from autonodes.kube.resources import LEASES, NODECLAIMS, resource_of
from autonodes.verify.doom import Doom, Gate
from autonodes.verify.kubelets import SCHEDULER
from controllers.stage import Stage
from controllers.test_program import until_running
from controlplane import RunningControlPlane
from syncer.controlplane import rbac

pytestmark = pytest.mark.integration


async def test_a_blind_kopf_is_noticed_and_restarted(plane: RunningControlPlane, stage: Stage) -> None:
    gate = Gate(plane.kubeconfig, Doom(0))
    gate.kopf_is_blind = True
    await stage.node_class()
    await stage.pool()
    async with gate.running(), stage.controller(credentials=Credentials(server=gate.url), operator_grace=1.0):
        await stage.until("kopf watches", lambda: gate.kopf_watches >= 3)
        await stage.pod("web", schedulerName=SCHEDULER)
        await stage.until("kopf is restarted", lambda: gate.kopf_watches >= 6)
        gate.kopf_is_blind = False
        await until_running(stage, "web")
        assert len(stage.cloud.purchases) == 1


async def test_nothing_is_bought_while_the_api_server_is_silent_and_all_goes_on_by_itself(
    plane: RunningControlPlane, stage: Stage
) -> None:
    gate = Gate(plane.kubeconfig, Doom(0))
    await stage.node_class()
    await stage.pool()
    async with gate.running(), stage.controller(credentials=Credentials(server=gate.url)) as program:
        await stage.until("the controller leads", lambda: program.election.is_leader)
        gate.refuse_next(503, times=10_000)
        gate.cut_streams()
        await stage.until("the silence is noticed", lambda: not program.state.fresh(program._clock.now()))
        await stage.pod("web", schedulerName=SCHEDULER)
        await asyncio.sleep(2)
        assert not stage.cloud.purchases
        gate.stop_refusing()
        await until_running(stage, "web")
    assert len(stage.cloud.purchases) == 1


async def test_of_two_controllers_one_acts_and_the_other_takes_over(stage: Stage) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller() as second:
        await stage.until("the first leads", lambda: second.election.is_leader)
        async with stage.controller() as first:
            await stage.pod("web", schedulerName=SCHEDULER)
            await until_running(stage, "web")
            assert not first.election.is_leader
            second.stop()
            await stage.until("the other leads", lambda: first.election.is_leader)
            await stage.delete_pod("web")
            await stage.until("nothing is left", stage.is_empty)
    assert len(stage.cloud.purchases) == 1


async def test_who_loses_the_lease_stops_and_waits_for_it_again(stage: Stage, admin: KubeClient) -> None:
    await stage.node_class()
    await stage.pool()
    async with stage.controller(lease_duration=3.0, lease_renewal=2.0, lease_retry=0.2) as program:
        await stage.until("it leads", lambda: program.election.is_leader)
        spec = {"holderIdentity": "a rival", "leaseDurationSeconds": 2}
        await admin.merge_patch(LEASES, "autonodes-controller", {"spec": spec}, "kube-system")
        await stage.until("it has stopped", lambda: not program.election.is_leader)
        await stage.pod("web", schedulerName=SCHEDULER)
        await stage.until("it leads again", lambda: program.election.is_leader)
        await until_running(stage, "web")
    assert len(stage.cloud.purchases) == 1


async def test_the_end_of_kopf_is_not_the_end_of_others(stage: Stage) -> None:
    bystander: asyncio.Task[None] | None = None
    async with stage.controller() as program:
        await stage.until("it leads", lambda: program.election.is_leader)
        bystander = asyncio.create_task(asyncio.sleep(3600))
    assert not bystander.done()
    bystander.cancel()


async def test_sigterm_ends_the_program_and_not_only_kopf(stage: Stage) -> None:
    async with stage.controller() as program:
        await stage.until("it leads", lambda: program.election.is_leader)
        await asyncio.sleep(0.5)  # kopf has taken the signals and given them back
        os.kill(os.getpid(), signal.SIGTERM)
        await stage.until("it stops", lambda: not program.election.is_leader)


def test_kopf_does_not_bring_the_kubernetes_client_into_memory() -> None:
    code = "import autonodes.controllers.program, sys; print('kubernetes' in sys.modules, 'kopf' in sys.modules)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


async def test_the_controllers_own_rights_are_enough(plane: RunningControlPlane, stage: Stage) -> None:
    for manifest in rbac.manifests():
        await stage.admin.apply(resource_of(manifest), manifest, field_manager="test")
    await stage.node_class()
    await stage.pool()
    credentials = load_kubeconfig(plane.kubeconfig_of("controller"))
    async with stage.controller(credentials=credentials) as program:
        await stage.pod("web", schedulerName=SCHEDULER)
        await until_running(stage, "web")
        (claim,) = await stage.claims()
        await stage.admin.delete(NODECLAIMS, claim.name)
        await stage.until("nothing is left", stage.is_empty)
        assert await stage.phase_or_gone("web") == ""
        await program.events.flush()
        assert not program.events.dropped
