"""A device plug-in without devices, in place of NVIDIA's: the kubelet's real API, GPUs that are only names.

It is the program of an image (`gpu_plugin_image`) and takes what NVIDIA's takes from the add-on: the kubelet's
directory, and the configuration file that CONFIG_FILE names. Which GPUs the machine has, and how they are cut up,
NVIDIA's plug-in is told by the driver; this one by a file that lies in the kubelet's directory, for which it waits. A
pod finds the names of its own in NVIDIA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

HARDWARE = "hardware.json"
GPU = "nvidia.com/gpu"
DIRECTORY = Path("/var/lib/kubelet/device-plugins")
_VERSION = "v1beta1"


def shown(hardware: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, int]:
    """What a machine shows.

    :param hardware: resource → how many; whole GPUs, or MIG instances under the names of their profiles
    :param config: NVIDIA's file
    """
    strategy = config["flags"]["migStrategy"]
    found = {GPU: sum(hardware.values())} if strategy == "single" else dict(hardware)
    if strategy == "none":
        found = {name: count for name, count in hardware.items() if name == GPU}
    slicing = config.get("sharing", {}).get("timeSlicing", {"resources": []})
    replicas = {each["name"]: each["replicas"] for each in slicing["resources"]}
    suffix = ".shared" if slicing.get("renameByDefault") else ""
    return {name + suffix * (name in replicas): count * replicas.get(name, 1) for name, count in found.items()}


def serve(messages: Any, services: Any, resource: str, amount: int) -> grpc.Server:
    """Offer a resource to the kubelet, for as long as the process lives."""
    devices = [messages.Device(ID=f"{resource}-{index}", health="Healthy") for index in range(amount)]

    class Plugin(services.DevicePluginServicer):  # type: ignore[misc, name-defined]
        def GetDevicePluginOptions(self, request: Any, context: Any) -> Any:
            return messages.DevicePluginOptions()

        def ListAndWatch(self, request: Any, context: Any) -> Iterator[Any]:
            yield messages.ListAndWatchResponse(devices=devices)
            threading.Event().wait()

        def Allocate(self, request: Any, context: Any) -> Any:
            answers = [
                messages.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(each.devices_ids)})
                for each in request.container_requests
            ]
            return messages.AllocateResponse(container_responses=answers)

    endpoint = f"{resource.replace('/', '-')}.sock"
    (DIRECTORY / endpoint).unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(4))
    services.add_DevicePluginServicer_to_server(Plugin(), server)
    server.add_insecure_port(f"unix://{DIRECTORY / endpoint}")
    server.start()
    with grpc.insecure_channel(f"unix://{DIRECTORY / 'kubelet.sock'}") as channel:
        services.RegistrationStub(channel).Register(
            messages.RegisterRequest(version=_VERSION, endpoint=endpoint, resource_name=resource),
            timeout=60,
            wait_for_ready=True,
        )
    return server


def main() -> None:
    import deviceplugin_pb2  # type: ignore[import-not-found]  # both are generated for the image
    import deviceplugin_pb2_grpc  # type: ignore[import-not-found]

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while not (DIRECTORY / HARDWARE).exists():
        time.sleep(0.2)
    hardware = json.loads((DIRECTORY / HARDWARE).read_text())
    config = json.loads(Path(os.environ["CONFIG_FILE"]).read_text())
    amounts = shown(hardware, config)
    print(f"{os.environ['NODE_NAME']} shows {amounts}", flush=True)
    servers = [serve(deviceplugin_pb2, deviceplugin_pb2_grpc, name, amount) for name, amount in amounts.items()]
    for server in servers:
        server.wait_for_termination()


if __name__ == "__main__":
    main()
