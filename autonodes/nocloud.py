"""The seed of a machine: a NoCloud volume (ISO 9660, label ``cidata``) whose user data is a script.

cloud-init runs such a script, and so does the image made from the components, so that one seed serves both. The script
writes the files of the boot plan and starts its processes: as services where systemd runs, or else in loops that start
what ended again. It can be run on every boot.

It holds the machine's bootstrap token: the volume is readable for its owner only, and nothing of it is logged.
"""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Iterator
from typing import Final

import pycdlib

from autonodes.provider import BootFile, BootPlan, BootProcess

PROGRAMS: Final = "/opt/autonodes/bin"
_PATH: Final = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_BEGIN: Final = """\
#!/bin/sh
set -eu
umask 077
put() { mkdir -p "${1%/*}"; base64 -d >"$1.new"; chmod "$2" "$1.new"; mv "$1.new" "$1"; }
begin() {
  name=$1; shift
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now "autonodes-$name.service"
  else
    (while :; do "$@" >>"/var/log/$name.log" 2>&1 </dev/null || :; sleep 1; done) &
  fi
}
wait_for() { until [ -S "$1" ]; do sleep 0.05; done; }
"""

_UNIT: Final = """\
[Unit]
Description={name}
[Service]
ExecStart={command}
Environment="PATH={path}"
{environment}Restart=always
RestartSec=1
Delegate=yes
KillMode=process
OOMScoreAdjust=-999
LimitNOFILE=1048576
[Install]
WantedBy=multi-user.target
"""


def seed(plan: BootPlan, *, instance_id: str) -> bytes:
    """The volume's content."""
    return volume(user_data(plan), meta_data(plan.node_name, instance_id=instance_id))


def volume(user_data: str, meta_data: str) -> bytes:
    """A volume with these two files."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for short, name, text in (("USERDATA", "user-data", user_data), ("METADATA", "meta-data", meta_data)):
        content = text.encode()
        image.add_fp(io.BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    out = io.BytesIO()
    image.write_fp(out)
    image.close()
    return out.getvalue()


def meta_data(hostname: str, *, instance_id: str) -> str:
    """:param instance_id: another one is another machine: what runs once, runs again"""
    return f"instance-id: {instance_id}\nlocal-hostname: {hostname}\n"


def user_data(plan: BootPlan) -> str:
    """The script."""
    return "".join(_parts(plan))


def _parts(plan: BootPlan) -> Iterator[str]:
    yield _BEGIN
    for file in plan.files:
        yield _put(file)
    for process in plan.processes:
        yield _put(_unit(process))
        environment = " ".join(shlex.quote(f"{key}={value}") for key, value in process.env.items())
        command = " ".join(map(shlex.quote, _command(process)))
        yield f"begin {shlex.quote(process.name)} env PATH={_PATH} {environment} {command}\n"
        if process.ready_socket is not None:
            yield f"wait_for {shlex.quote(process.ready_socket)}\n"


def _put(file: BootFile) -> str:
    content = base64.encodebytes(file.content).decode()
    return f"put {shlex.quote(file.path)} {file.mode:o} <<'END'\n{content}END\n"


def _command(process: BootProcess) -> tuple[str, ...]:
    name, *arguments = process.argv
    return (f"{PROGRAMS}/{name}", *arguments)


def _unit(process: BootProcess) -> BootFile:
    text = _UNIT.format(
        name=process.name,
        command=" ".join(map(_unit_word, _command(process))),
        path=_PATH,
        environment="".join(f"Environment={_unit_word(f'{key}={value}')}\n" for key, value in process.env.items()),
    )
    return BootFile(path=f"/etc/systemd/system/autonodes-{process.name}.service", content=text.encode(), mode=0o600)


def _unit_word(word: str) -> str:
    """As systemd.service(5) wants it: quoted, with its two special characters doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
