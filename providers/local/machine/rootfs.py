"""The file system of a machine: a directory of its own, with this host's programs shown in it read-only.

Everything that a node writes lies in the directory, on disk, so that the standard paths and any ``hostPath`` volume
work as on a real machine. Of this host it sees ``/usr``, the certificates of public authorities and the components; its
``/proc``, ``/sys`` (with its own control groups as the root), ``/dev`` and ``/run`` are fresh. The mounts exist only in
the machine's mount namespace: they end with its last process, and nothing has to be unmounted.

A namespaced node is no security boundary: the kernel is shared, and a privileged pod can reach the host.
"""

from __future__ import annotations

import os
import stat
import subprocess
from typing import Final

from providers.local import cgroups
from providers.local.machine import linux
from providers.local.machine.order import File, Order

PROGRAMS: Final = "/opt/autonodes/bin"
LOGS: Final = "/var/log"

_DIRECTORIES: Final = (
    *("etc", "root", "home", "srv", "mnt", "media", "var/lib", "var/log", "var/tmp", "tmp", "opt/cni/bin"),
    *("etc/kubernetes/manifests", "etc/containerd", "etc/cni/net.d", "var/lib/kubelet", "var/lib/containerd"),
)
_TOP_LEVEL: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FROM_HOST: Final = ("etc/ssl/certs", "etc/alternatives", "etc/ld.so.cache")
_DEVICES: Final = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "kmsg": (1, 11),
    "tty": (5, 0),
    "fuse": (10, 229),
    "net/tun": (10, 200),
}

# The kubelet writes these when they differ (pkg/kubelet/cm, setupKernelTunables), and they are the whole host's: it
# would make a desktop reboot after a panic, say. It finds them as it wants them, and leaves the host alone.
_SYSCTLS: Final = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def seed(order: Order) -> None:
    """Make the directory, with the images in it. Only a first boot does that; it runs outside of the machine.

    :raises OSError: the disk is full, …
    :raises subprocess.CalledProcessError: the images could not be copied
    """
    for directory in _DIRECTORIES:
        os.makedirs(f"{order.root}/{directory}", exist_ok=True)
    os.chmod(f"{order.root}/tmp", 0o1777)  # noqa: S103, S108 -- as everywhere: sticky and open to all
    containerd, done = f"{order.root}/var/lib/containerd", f"{order.root}/var/lib/.images"
    if os.path.exists(done):
        return
    if order.containerd_root:
        subprocess.run(["rm", "-rf", containerd], check=True)
        _copy_images(order.containerd_root, containerd)
    _write(done, b"")


def _copy_images(source: str, target: str) -> None:
    """Copy a containerd root. Blobs and unpacked layers are only ever read, so they are shared by hard links; the
    databases beside them are written to, and copied."""
    shared = ("io.containerd.content.v1.content/blobs", "io.containerd.snapshotter.v1.overlayfs/snapshots")
    os.makedirs(target)
    for plugin in sorted(os.listdir(source)):
        os.makedirs(f"{target}/{plugin}", exist_ok=True)
        for entry in sorted(os.listdir(f"{source}/{plugin}")):
            how = "--link" if f"{plugin}/{entry}" in shared else "--reflink=auto"
            subprocess.run(["cp", "-a", how, f"{source}/{plugin}/{entry}", f"{target}/{plugin}/"], check=True)


def enter(order: Order) -> None:
    """Mount everything and make it ``/``, in a new mount namespace, as process 1 of a new process namespace.

    :raises OSError: with the path of the mount that failed
    """
    os.umask(0o022)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.bind(order.root, order.root)
    os.chdir(order.root)
    _mount_programs(order)
    _mount_kernel()
    _mount_devices()
    linux.pivot_root(".", ".")
    linux.umount(".", flags=linux.MNT_DETACH)
    os.chdir("/")
    _pretend_sysctls()
    # as systemd does: CSI drivers mount in their pods and expect the kubelet to see it
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_SHARED)


def furnish(order: Order) -> None:
    """Write the machine's own files. Strictly after `enter`: a link that a pod left behind then leads nowhere."""
    address = order.network.address.partition("/")[0]
    own = {
        "/etc/hostname": f"{order.hostname}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{address} {order.hostname}\n",
        "/etc/machine-id": f"{order.machine_id}\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "/etc/resolv.conf": order.resolv_conf,
    }
    if not os.path.lexists("/etc/os-release"):
        os.symlink("../usr/lib/os-release", "/etc/os-release")
    for path, text in own.items():
        write(File(path=path, content=text.encode(), mode=0o644))
    for file in order.files:
        write(file)


def write(file: File) -> None:
    """Write aside, with the right mode from the first byte on, and rename."""
    os.makedirs(os.path.dirname(file.path), exist_ok=True)
    _write(f"{file.path}.new", file.content, file.mode)
    os.replace(f"{file.path}.new", file.path)


def _mount_programs(order: Order) -> None:
    _show("/usr", "usr")
    for name in _TOP_LEVEL:  # links into /usr, but directories where /usr is not merged
        if os.path.islink(f"/{name}"):
            if not os.path.lexists(name):
                os.symlink(os.readlink(f"/{name}"), name)
        elif os.path.isdir(f"/{name}"):
            _show(f"/{name}", name)
    for path in _FROM_HOST:
        if os.path.exists(f"/{path}"):
            _show(f"/{path}", path)
    _show(order.programs, PROGRAMS[1:])


def _show(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _write(target, b"")
    linux.bind_read_only(source, target)


def _mount_kernel() -> None:
    secure = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    for kind, target in (("proc", "proc"), ("sysfs", "sys")):
        os.makedirs(target, exist_ok=True)
        linux.mount(kind, target, kind, flags=secure)
    found = cgroups.hierarchies()
    if len(found) == 1 and found[0].unified:
        linux.mount("cgroup2", "sys/fs/cgroup", "cgroup2", flags=secure)
        return
    linux.mount("tmpfs", "sys/fs/cgroup", "tmpfs", flags=secure, options="mode=755")
    for hierarchy in found:
        _mount_hierarchy(hierarchy, secure)


def _mount_hierarchy(hierarchy: cgroups.Hierarchy, flags: int) -> None:
    name = os.path.basename(hierarchy.mount_point)
    target = f"sys/fs/cgroup/{name}"
    os.mkdir(target)
    if hierarchy.unified:
        linux.mount("cgroup2", target, "cgroup2", flags=flags)
        return
    linux.mount("cgroup", target, "cgroup", flags=flags, options=",".join(hierarchy.controllers))
    for controller in hierarchy.controllers:  # cpu → cpu,cpuacct, where two share a hierarchy
        if "=" not in controller and controller != name:
            os.symlink(name, f"sys/fs/cgroup/{controller}")


def _mount_devices() -> None:
    for directory, options in (("dev", "mode=755"), ("run", "mode=755")):
        os.makedirs(directory, exist_ok=True)
        linux.mount("tmpfs", directory, "tmpfs", flags=linux.MS_NOSUID, options=options)
    for directory in ("dev/net", "dev/pts", "dev/shm", "dev/mqueue", "run/lock"):
        os.mkdir(directory)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(f"dev/{name}", 0o666)  # noqa: S103 -- as devtmpfs does; the umask took the bits away
    linux.mount("devpts", "dev/pts", "devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    linux.mount("tmpfs", "dev/shm", "tmpfs", flags=linux.MS_NOSUID | linux.MS_NODEV, options="mode=1777")
    linux.mount("mqueue", "dev/mqueue", "mqueue")
    for link, goal in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1")):
        os.symlink(goal, f"dev/{link}")
    os.symlink("fd/2", "dev/stderr")
    if not os.path.lexists("var/run"):
        os.symlink("../run", "var/run")


def _pretend_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        if os.path.exists(f"/proc/sys/{name}"):
            stand_in = f"/var/lib/autonodes/sysctl/{name}"  # on disk: cAdvisor reports each tmpfs as a device
            write(File(path=stand_in, content=f"{value}\n".encode(), mode=0o644))
            linux.bind_read_only(stand_in, f"/proc/sys/{name}")


def _write(path: str, content: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
