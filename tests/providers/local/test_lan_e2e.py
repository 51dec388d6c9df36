"""The LAN with a way out, in a network namespace that plays the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[3]
HOST = """
set -e
mount -t sysfs sysfs /sys
ip link set lo up
echo "$1" >/proc/sys/net/ipv4/ip_forward
shift
touch outside
unshare --net=outside true
ip link add out0 type veth peer name eth0 netns "$PWD/outside"
ip address add 192.0.2.1/24 dev out0
ip link set out0 up
nsenter --net=outside ip address add 192.0.2.2/24 dev eth0
nsenter --net=outside ip link set eth0 up
exec "$@"
"""
SCRIPT = """
import asyncio, os, socket, subprocess, sys
from pathlib import Path
from providers.local.lan import CommandError, Lan
from providers.local.machine.linux import CLONE_NEWNET, setns

egress = sys.argv[1] == "egress"
lan = Lan(Path("lan"), key="test", uplink="100.64.0.0/30", egress=egress)
lock = os.open("lock", os.O_CREAT | os.O_RDWR)

def inside(path, function):
    '''Run in another network namespace, in a child: True if it went well.'''
    child = os.fork()
    if child == 0:
        setns(os.open(path, os.O_RDONLY), CLONE_NEWNET)
        try:
            function()
        except OSError:
            os._exit(1)
        os._exit(0)
    return child

def well(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def dial(address, source=None):
    socket.create_connection((address, 7777), 1, source_address=source).close()

def serve(seen):
    server = socket.create_server(("", 7777))
    server.settimeout(5)
    os.write(seen[1], b"up")
    os.write(seen[1], server.accept()[1][0].encode())

async def main():
    for _ in range(2):
        await lan.ensure(lock)
        lan._ensured = False
    seen = os.pipe()
    server = inside("outside", lambda: serve(seen))
    assert os.read(seen[0], 2) == b"up"
    out = well(inside("lan", lambda: dial("192.0.2.2", ("10.88.0.1", 0))))
    assert out == egress, out
    if egress:
        assert os.read(seen[0], 100) == b"192.0.2.1", "the host's address stands for the machine's"
        assert well(server)
    else:
        os.kill(server, 9)
        os.waitpid(server, 0)
    subprocess.run(["nsenter", "--net=outside", "ip", "route", "add", "100.64.0.0/30", "via", "192.0.2.1"], check=True)
    router = inside("lan", lambda: serve(seen))
    assert os.read(seen[0], 2) == b"up"
    assert not well(inside("outside", lambda: dial("100.64.0.2"))), "nobody dials in"
    try:
        dial("100.64.0.2")
    except OSError:
        pass
    else:
        raise AssertionError("the host does not dial in either")
    os.kill(router, 9)
    os.waitpid(router, 0)
    for _ in range(2):
        await lan.remove(lock)
    assert not Path("lan").exists()
    assert not Path("/sys/class/net/an-test").exists()
    assert b"an_test" not in subprocess.run(["nft", "list", "tables"], capture_output=True).stdout

asyncio.run(main())
"""


@pytest.mark.parametrize("forwarding", ["0", "1"])
@pytest.mark.parametrize("egress", ["egress", "none"])
def test_machines_dial_out_only_if_they_may_and_nobody_dials_in(tmp_path: Path, egress: str, forwarding: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--fork", "--kill-child"),
            *("sh", "-c", HOST, "sh", forwarding, sys.executable, "-c", SCRIPT, egress),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
