"""A device plug-in without devices: the kubelet's real API, GPUs that are only names.

It shows what NVIDIA's would, by the node's labels: whole GPUs, MIG instances, or each of them several times. A pod
finds the names of its own in NVIDIA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from autonodes.core.sharing import GPU, shared_capacity

_VERSION = "v1beta1"


@contextlib.contextmanager
def gpu_plugin(root: Path, gpus: int, labels: Mapping[str, str]) -> Iterator[Mapping[str, int]]:
    """Register with the kubelet of a machine, and serve until left.

    :param root: the machine's root directory, as this process sees it
    :return: resource → how many of it are shown
    """
    messages, services = grpc.protos_and_services("deviceplugin.proto")
    directory = root / "var/lib/kubelet/device-plugins"
    shown = {name: amount for name, amount in shared_capacity({GPU: gpus}, labels).items() if amount}
    with contextlib.ExitStack() as stack:
        for name, amount in shown.items():
            stack.enter_context(_serving(messages, services, directory, name, amount))
        yield shown


@contextlib.contextmanager
def _serving(messages: Any, services: Any, directory: Path, resource: str, amount: int) -> Iterator[None]:
    ended = threading.Event()
    devices = [messages.Device(ID=f"{resource}-{index}", health="Healthy") for index in range(amount)]

    class Plugin(services.DevicePluginServicer):  # type: ignore[misc, name-defined]
        def GetDevicePluginOptions(self, request: Any, context: Any) -> Any:
            return messages.DevicePluginOptions()

        def ListAndWatch(self, request: Any, context: Any) -> Iterator[Any]:
            yield messages.ListAndWatchResponse(devices=devices)
            ended.wait()

        def Allocate(self, request: Any, context: Any) -> Any:
            answers = [
                messages.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(each.devices_ids)})
                for each in request.container_requests
            ]
            return messages.AllocateResponse(container_responses=answers)

    endpoint = f"{resource.replace('/', '-')}.sock"
    server = grpc.server(ThreadPoolExecutor(4))
    services.add_DevicePluginServicer_to_server(Plugin(), server)
    server.add_insecure_port(f"unix://{directory / endpoint}")
    server.start()
    try:
        with grpc.insecure_channel(f"unix://{directory / 'kubelet.sock'}") as channel:
            services.RegistrationStub(channel).Register(
                messages.RegisterRequest(version=_VERSION, endpoint=endpoint, resource_name=resource),
                timeout=60,
                wait_for_ready=True,
            )
        yield
    finally:
        ended.set()
        server.stop(0).wait()
