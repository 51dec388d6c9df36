"""A host that is always on: a real SSH server in a root, a PID and a mount namespace of its own.

Its root is this machine's with a layer over it that goes with the test: whatever is written or removed there is so in
that layer only. It sees no process and no cgroup but its own. The network is this machine's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from controlplane import free_port

_START = """\
set -eu
mount -t tmpfs tmpfs {directory}/layer
mkdir {directory}/layer/upper {directory}/layer/work {directory}/layer/root
cd {directory}/layer
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount --rbind /dev root/dev
for place in proc sys run tmp var/log; do mkdir -p root/$place; mount -t tmpfs tmpfs root/$place; done
mount -t proc proc root/proc
rm -rf root/opt/autonodes root/etc/kubernetes root/var/lib/kubelet root/var/lib/autonodes
mkdir -p root/opt/autonodes/bin root/root/.ssh root/etc
for program in kubelet containerd busybox; do cp {busybox} root/opt/autonodes/bin/$program; done
cp {kubectl} root/opt/autonodes/bin/kubectl
dropbearconvert openssh dropbear {directory}/host_key root/etc/host_key_of_the_test
cp {directory}/authorized root/root/.ssh/authorized_keys
chmod go= root/root root/root/.ssh root/root/.ssh/authorized_keys
echo 0123456789abcdef0123456789abcdef >root/etc/machine-id
mkdir root/old
pivot_root root root/old
cd /
umount -l /old
exec dropbear -F -E -s -m -p 127.0.0.1:{port} -r /etc/host_key_of_the_test -P /run/pid_of_the_test
"""


@dataclass(frozen=True)
class SshHost:
    """:param host_key: its public key
    :param private_key: of who may log in"""

    port: int
    host_key: str
    private_key: str
    pid: int

    def path(self, path: str) -> Path:
        """Where a file of the host is seen from here."""
        return Path(f"/proc/{self.pid}/root{path}")


@contextlib.contextmanager
def ssh_host(directory: Path, kubectl: Path) -> Iterator[SshHost]:
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (directory / "host_key").write_bytes(host.export_private_key())
    (directory / "authorized").write_bytes(user.export_public_key())
    (directory / "layer").mkdir()
    port, log = free_port(), directory / "log"
    busybox = shutil.which("busybox")
    script = _START.format(directory=directory, port=port, kubectl=kubectl, busybox=busybox)
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 120
        while b"Not backgrounding" not in log.read_bytes():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        (pid,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        yield SshHost(port, host.export_public_key().decode().strip(), user.export_private_key().decode(), int(pid))
    finally:
        child.kill()
        child.wait(timeout=30)
        assert not os.path.ismount(directory / "layer")
