"""The images of the add-ons, made from the pinned components: a node needs no registry.

Each image holds one component and what it calls: kube-proxy and flannel call ``nft``, the Konnectivity agent is
Python. Programs that are linked dynamically bring their libraries along; busybox (static) is the shell.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import util
from pathlib import Path

from autonodes.core.errors import EnvironmentFault
from joiner.bootstrap import PAUSE_IMAGE
from joiner.oci import Image, write_archive

REGISTRY = "autonodes.io"
BUSYBOX_IMAGE = f"{REGISTRY}/busybox:1.35"
AGENT_IMAGE = f"{REGISTRY}/konnectivity-agent:0.1.0"

# A shell as PID 1 reaps what is left to it, as a pod that shares its process namespace needs.
_PAUSE = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"

_UNUSED_STDLIB = frozenset(
    {"site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data"}
)


def image_references(versions: Mapping[str, str]) -> dict[str, str]:
    """Add-on → reference, for the manifests. ``versions``: component → pinned version."""
    return {
        "busybox": BUSYBOX_IMAGE,
        "pause": PAUSE_IMAGE,
        "konnectivity-agent": AGENT_IMAGE,
        **{
            name: f"{REGISTRY}/{name}:{versions[component].removeprefix('v')}"
            for name, component in _COMPONENT_OF.items()
        },
    }


_COMPONENT_OF = {
    "kube-proxy": "kubernetes",
    "flannel": "flannel",
    "coredns": "coredns",
    "local-path-provisioner": "local-path-provisioner",
}


def make_images(binaries: Mapping[str, Path], versions: Mapping[str, str], cache: Path) -> tuple[Path, ...]:
    """Make every image that is not in ``cache`` yet; returns the archives.

    :param binaries: name of a program (``kube-proxy``, ``flanneld``, …) → where it lies
    :param cache: a directory; archives in it are named by what they were made from
    :raises EnvironmentFault: a program of this machine (busybox, nft) is missing
    """
    cache.mkdir(parents=True, exist_ok=True)
    archives = []
    for image in _images(binaries, image_references(versions)):
        short_name = image.reference.rpartition("/")[2].partition(":")[0]
        archive = cache / f"{short_name}-{image.fingerprint()[:16]}.tar"
        if not archive.exists():
            write_archive(image, archive)
        archives.append(archive)
    return tuple(archives)


def _images(binaries: Mapping[str, Path], references: Mapping[str, str]) -> Iterable[Image]:
    shell, applets = _busybox()
    network_tools = _program("nft", package="nftables")
    yield Image(reference=references["busybox"], files=shell, links=applets, command=("/bin/sh",))
    yield Image(reference=references["pause"], files=shell, links=applets, entrypoint=("/bin/sh", "-c", _PAUSE))
    for name, program, tools in (
        ("kube-proxy", "kube-proxy", network_tools),
        ("flannel", "flanneld", network_tools),
        ("coredns", "coredns", {}),
        ("local-path-provisioner", "local-path-provisioner", {}),
    ):
        yield Image(
            reference=references[name],
            files={**shell, **tools, f"/usr/local/bin/{program}": binaries[program]},
            links=applets,
            entrypoint=(f"/usr/local/bin/{program}",),
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    yield _agent_image(references["konnectivity-agent"])


def _busybox() -> tuple[dict[str, Path | bytes], dict[str, str]]:
    binary = shutil.which("busybox") or ("/bin/busybox" if Path("/bin/busybox").exists() else None)
    if binary is None:
        raise EnvironmentFault("busybox is not installed", "apt-get install busybox-static")
    if _libraries(Path(binary)):
        raise EnvironmentFault(f"{binary} is linked dynamically", "apt-get install busybox-static")
    files: dict[str, Path | bytes] = {
        "/bin/busybox": Path(binary),
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "/etc/group": b"root:x:0:\nnobody:x:65534:\n",
    }
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return files, {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}


def _program(name: str, *, package: str) -> dict[str, Path | bytes]:
    """A program of this machine with the libraries that it is linked with."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise EnvironmentFault(f"{name} is not installed", f"apt-get install {package}")
    return {f"/usr/sbin/{name}": Path(found).resolve(), **_libraries(Path(found))}


def _libraries(*programs: Path) -> dict[str, Path | bytes]:
    """Path → file of the shared libraries and the loader, by the loader's own account."""
    libraries: dict[str, Path | bytes] = {}
    for program in programs:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(?:=> |^\s)(/\S+) \(0x", listing, flags=re.MULTILINE):
            libraries[path] = Path(path).resolve()
    return libraries


def _agent_image(reference: str) -> Image:
    """The running interpreter with its standard library, gRPC and the agent's own code."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    library = f"/usr/lib/{version}"
    interpreter = Path(sys.executable).resolve()
    files: dict[str, Path | bytes] = {f"/usr/bin/{version}": interpreter}
    for path in _python_files(stdlib, without=_UNUSED_STDLIB):
        files[f"{library}/{path.relative_to(stdlib)}"] = path
    for package in ("grpc", "google.protobuf", "joiner.konnectivity"):
        root = _package_root(package)
        for path in _python_files(root):
            files[f"{library}/site-packages/{package.replace('.', '/')}/{path.relative_to(root)}"] = path
    extension = _module_file("typing_extensions")
    if extension is not None:
        files[f"{library}/site-packages/typing_extensions.py"] = extension
    files[f"{library}/site-packages/joiner/__init__.py"] = b""
    native = [path for path in files.values() if isinstance(path, Path) and ".so" in path.suffixes]
    return Image(
        reference=reference,
        files={**_libraries(interpreter, *native), **files},
        links={"/usr/bin/python3": version},
        entrypoint=(f"/usr/bin/{version}", "-m", "joiner.konnectivity.agent"),
        env={
            "PYTHONHOME": "/usr",
            "PYTHONPATH": f"{library}/site-packages",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    )


def _python_files(root: Path, without: frozenset[str] = frozenset()) -> Iterable[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if parts[0] in without or parts[0].startswith("config-") or "test" in parts or "tests" in parts:
            continue
        if path.suffix in (".py", ".pyc", ".so") and ".opt-" not in path.name and path.is_file():
            yield path


def _package_root(name: str) -> Path:
    spec = util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentFault(f"the Python package {name} is not installed", "pip install grpcio protobuf")
    return Path(next(iter(spec.submodule_search_locations)))


def _module_file(name: str) -> Path | None:
    spec = util.find_spec(name)
    return Path(spec.origin) if spec is not None and spec.origin else None
