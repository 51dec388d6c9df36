"""The files of the root disk: busybox, some tools of this machine with their libraries, components, images, modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault
from joiner.machineimage.kernels import Kernel

PROGRAMS: Final = "opt/autonodes/bin"

_TOOLS: Final = {
    "nft": "nftables",  # the portmap plug-in
    "mount": "mount",
    "umount": "mount",
    "nsenter": "util-linux",
    "blkid": "util-linux",  # the kubelet formats and mounts volumes
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "ip": "iproute2",
}
"""Of this machine → Debian package. All else is busybox."""

_DIRECTORIES: Final = (
    *("dev", "proc", "sys", "run", "root", "home", "mnt", "media", "srv", "tmp", "bin", "etc", "usr/libexec"),
    *("var/lib/kubelet", "var/lib/containerd", "var/log", "var/tmp", "opt/cni/bin", PROGRAMS),
    *("etc/kubernetes/manifests", "etc/containerd", "etc/cni/net.d", "etc/ssl/certs", "lib/modules", "lib64"),
)
_LINKS: Final = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin", "usr/lib": "../lib", "var/run": "../run"}
_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/inittab": "::sysinit:/etc/boot.sh\n::ctrlaltdel:/bin/reboot\n::shutdown:/bin/umount -a -r\n",
    "etc/os-release": 'ID=autonodes\nNAME=autonodes\nPRETTY_NAME="autonodes machine image"\n',
}
_CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"

_UNUSED_MODULES: Final = (
    *("fs/btrfs", "fs/ocfs2", "fs/orangefs", "fs/smb", "fs/ceph", "net/ceph", "drivers/infiniband", "drivers/media"),
    *("drivers/comedi", "drivers/xen", "drivers/hv", "drivers/soundwire", "drivers/tty", "net/openvswitch"),
)


def furnish(tree: Path, binaries: Mapping[str, Path], kernel: Kernel, containerd_root: Path) -> None:
    """Write everything into ``tree``, which is made.

    :raises EnvironmentFault: a tool of this machine is missing
    """
    for directory in _DIRECTORIES:
        (tree / directory).mkdir(parents=True)
    (tree / "tmp").chmod(0o1777)
    for path, target in _LINKS.items():
        (tree / path).symlink_to(target)
    for path, text in _FILES.items():
        (tree / path).write_text(text)
    for script in ("boot.sh", "udhcpc.sh"):
        (tree / "etc" / script).write_bytes(resources.files(__package__).joinpath(script).read_bytes())
        (tree / "etc" / script).chmod(0o755)
    if Path("/", _CERTIFICATES).exists():
        shutil.copyfile(Path("/", _CERTIFICATES), tree / _CERTIFICATES)
    busybox(tree / "bin")
    tools = {name: _tool(name, package) for name, package in _TOOLS.items()}
    for name, program in tools.items():
        _replace(program, tree / "bin" / name)
    (tree / "bin/mkfs.ext4").symlink_to("mke2fs")
    (tree / "bin/fsck.ext4").symlink_to("e2fsck")
    for name, program in binaries.items():
        _replace(program, tree / PROGRAMS / name)
    for library in _libraries([*tools.values(), *binaries.values()]):
        place = tree / str(library).replace("/usr/lib", "/lib", 1).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(library, place)
    _copy_modules(kernel, tree)
    subprocess.run(["cp", "-a", f"{containerd_root}/.", str(tree / "var/lib/containerd")], check=True)


def busybox(directory: Path) -> None:
    """The program and a link for each of its applets.

    :raises EnvironmentFault: it is not installed, or linked dynamically
    """
    program = _tool("busybox", "busybox-static")
    if _libraries([program]):
        raise EnvironmentFault(f"{program} is linked dynamically", "apt-get install busybox-static")
    _replace(program, directory / "busybox")
    for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (directory / applet).symlink_to("busybox")


def _tool(name: str, package: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise EnvironmentFault(f"{name} is not installed", f"apt-get install {package}")
    return Path(found).resolve()


def _replace(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """The shared libraries and the loader, by the loader's own account."""
    found: set[Path] = set()
    for program in programs:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for line in listing.splitlines():
            found.update(Path(word) for word in line.split() if word.startswith("/"))
    return sorted(found)


def _copy_modules(kernel: Kernel, tree: Path) -> None:
    target = tree / "lib/modules" / kernel.version
    unused = {str(kernel.modules / "kernel" / path) for path in _UNUSED_MODULES}

    def skipped(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if os.path.join(directory, name) in unused}  # noqa: PTH118 -- shutil's text

    shutil.copytree(kernel.modules, target, ignore=skipped, symlinks=True)
