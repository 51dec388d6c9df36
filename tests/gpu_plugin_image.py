"""The image of the device plug-in without devices (`gpu_plugin`), with the interpreter that the agent's has."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

from joiner.images import _agent_image
from joiner.oci import write_archive

REFERENCE = "autonodes.io/gpu-plugin:simulated"


def gpu_plugin_archive(directory: Path) -> Path:
    """Made there."""
    here = Path(__file__).parent
    well_known = resources.files("grpc_tools") / "_proto"
    failed = protoc.main(
        ["", f"-I{here}", f"-I{well_known}", f"--python_out={directory}", f"--grpc_python_out={directory}",
         "deviceplugin.proto"]
    )  # fmt: skip
    assert not failed
    library = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    own = (here / "gpu_plugin.py", *sorted(directory.glob("deviceplugin_pb2*.py")))
    base = _agent_image(REFERENCE)
    image = replace(
        base,
        files={**base.files, **{f"{library}/{path.name}": path for path in own}},
        entrypoint=(*base.entrypoint[:1], "-m", "gpu_plugin"),
    )
    archive = directory / "gpu-plugin.tar"
    write_archive(image, archive)
    return archive
