"""The control plane's processes, in the order of their start."""

from __future__ import annotations

from syncer.controlplane import apiserver, controllermanager, kine, scheduler
from syncer.controlplane.settings import ControlPlane
from syncer.process import Process


def processes(plane: ControlPlane) -> tuple[Process, ...]:
    return (
        kine.process(plane),
        apiserver.process(plane),
        controllermanager.process(plane),
        scheduler.process(plane),
    )
