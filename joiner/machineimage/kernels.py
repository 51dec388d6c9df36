"""The distribution's kernel: its package, unpacked into the cache and not installed on this machine.

Debian's ``linux-image-cloud-amd64`` is for virtual machines: a tenth of the drivers, virtio among them.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autonodes.core.errors import EnvironmentFault

_PACKAGES: Final = {"x86_64": "linux-image-cloud-amd64", "aarch64": "linux-image-cloud-arm64"}
_REMEDY: Final = "as root: apt-get update; or give the node class an image of your own (spec.image)"


@dataclass(frozen=True, slots=True)
class Kernel:
    """:param version: of the kernel, as its modules have it: ``6.1.0-56-cloud-amd64``
    :param package: name and version of the package: the same text is the same kernel
    :param directory: with ``boot/vmlinuz-VERSION`` and ``lib/modules/VERSION``
    """

    version: str
    package: str
    directory: Path

    @property
    def image(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.version}"

    @property
    def modules(self) -> Path:
        return self.directory / "lib" / "modules" / self.version


def distribution_kernel(cache: Path) -> Kernel:
    """The newest that the package lists of this machine know, fetched if it is not in ``cache``.

    :raises EnvironmentFault: no package lists, no network, or no Debian
    """
    package = _newest()
    name = package.partition("=")[0]
    version = name.removeprefix("linux-image-")
    found = Kernel(version, package, cache / package.replace("=", "_").replace(":", "."))
    if not found.image.exists():
        _fetch(package, found.directory)
    return found


def _newest() -> str:
    """As apt wants it: ``NAME=VERSION``."""
    for tool in ("apt-cache", "apt-get", "dpkg-deb", "depmod"):
        if shutil.which(tool) is None:
            raise EnvironmentFault(f"{tool} is not installed: no kernel can be fetched", _REMEDY)
    meta = _PACKAGES.get(platform.machine())
    if meta is None:
        raise EnvironmentFault(f"no kernel for virtual machines is known for {platform.machine()}", _REMEDY)
    name = re.search(r"Depends: (linux-image-\S+)", _said("apt-cache", "depends", "--important", meta))
    version = name and re.search(r"^Version: (\S+)", _said("apt-cache", "show", "--no-all-versions", name[1]), re.M)
    if not name or not version:
        raise EnvironmentFault(f"apt knows no package {meta}", _REMEDY)
    return f"{name[1]}={version[1]}"


def _fetch(package: str, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as aside:
        # apt may download as a user who can't write here, and says so in a warning
        _said("apt-get", "download", "--quiet", package, directory=aside)
        (archive,) = Path(aside).glob("*.deb")
        unpacked = Path(aside) / "unpacked"
        _said("dpkg-deb", "--extract", str(archive), str(unpacked))
        (modules,) = (unpacked / "lib" / "modules").iterdir()
        _said("depmod", "--basedir", str(unpacked), modules.name)
        shutil.rmtree(directory, ignore_errors=True)
        unpacked.rename(directory)


def _said(*command: str, directory: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode != 0:
        raise EnvironmentFault(f"{' '.join(command)}: {done.stderr.strip()}", _REMEDY)
    return done.stdout
