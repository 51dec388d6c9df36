"""A management controller that speaks IPMI 2.0 (RMCP+): OpenIPMI's simulator, and a chassis of some shell."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USERNAME, PASSWORD = "root", "ipmi-of-the-test"
GUID = "a123456789abcdefa123456789abcdef"

_LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{chassis}"
  user 1 true "" "" user 10 none md2 md5 straight
  user 2 true "{username}" "{password}" admin 10 none md2 md5 straight
"""
_MACHINE = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
_CHASSIS = """\
#!/bin/sh
cd {directory}
case "$1 $2" in
  "get power") echo "power:$(cat power)" ;;
  "get boot") echo "boot:default" ;;
  "set power") echo "$3" >power; echo "$@" >>commands ;;
  *) echo "$@" >>commands ;;
esac
"""


@dataclass(frozen=True)
class Simulator:
    port: int
    directory: Path

    @property
    def address(self) -> str:
        return f"ipmi://127.0.0.1:{self.port}"

    @property
    def commands(self) -> list[str]:
        """What the chassis was told to do."""
        path = self.directory / "commands"
        return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def simulator(directory: Path) -> Iterator[Simulator]:
    made = Simulator(free_udp_port(), directory)
    settings = {"port": made.port, "guid": GUID, "username": USERNAME, "password": PASSWORD}
    chassis = directory / "chassis"
    chassis.write_text(_CHASSIS.format(directory=directory))
    chassis.chmod(0o755)
    (directory / "power").write_text("0\n")
    (directory / "lan.conf").write_text(_LAN.format(chassis=chassis, **settings))
    (directory / "machine").write_text(_MACHINE)
    log = directory / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["ipmi_sim", "-n", "-c", "lan.conf", "-f", "machine", "-s", "state"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while f":{made.port:04X} " not in Path("/proc/net/udp").read_text():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield made
    finally:
        child.kill()
        child.wait(timeout=30)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
