"""The initrd: busybox, the drivers of the root disk in the order in which they need each other, and `initrd.sh`."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from joiner.machineimage.kernels import Kernel
from joiner.machineimage.rootfs import busybox

_DRIVERS: Final = ("virtio_pci", "virtio_blk")


def write(kernel: Kernel, out: Path) -> None:
    """:raises EnvironmentFault: the kernel has not the drivers"""
    modules = _in_order(kernel)
    with tempfile.TemporaryDirectory(dir=out.parent) as aside:
        tree = Path(aside)
        for directory in ("bin", "modules", "proc", "dev", "root"):
            (tree / directory).mkdir()
        busybox(tree / "bin")
        for module in modules:
            shutil.copyfile(kernel.modules / module, tree / "modules" / Path(module).name)
        script = resources.files(__package__).joinpath("initrd.sh").read_text()
        names = " ".join(Path(module).name for module in modules)
        (tree / "init").write_text(script.replace("@MODULES@", names))
        (tree / "init").chmod(0o755)
        entries = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        packed = subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0", "--reproducible"],
            input="\n".join(entries).encode(),
            capture_output=True,
            cwd=tree,
            check=True,
        ).stdout
        out.write_bytes(gzip.compress(packed, compresslevel=1, mtime=0))


def _in_order(kernel: Kernel) -> list[str]:
    """Paths of the drivers and of what they depend on, that first (depmod's list has it last)."""
    dependencies = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        dependencies[Path(path).name.partition(".")[0]] = [*reversed(needed.split()), path]
    ordered: list[str] = []
    for driver in _DRIVERS:
        if driver not in dependencies:
            raise EnvironmentFault(f"kernel {kernel.version} has no module {driver}", "take Debian's cloud kernel")
        ordered += [path for path in dependencies[driver] if path not in ordered]
    return ordered
