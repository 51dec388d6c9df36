from __future__ import annotations

import subprocess
from pathlib import Path

from autonodes import nocloud
from autonodes.provider import BootFile, BootPlan, BootProcess
from nocloud_seeds import files_of, read

NASTY = 'it\'s "a" $HOME `id` %n \\ ü'
PLAN = BootPlan(
    node_name="node-1",
    files=(
        BootFile(path="/etc/kubernetes/secret", content=b"hush", mode=0o600),
        BootFile(path="/etc/kubernetes/all bytes", content=bytes(range(256)) * 300),
        BootFile(path="/etc/kubernetes/end", content=b"END\n"),
    ),
    processes=(
        BootProcess(name="first", argv=("first", NASTY), env={"KEY": NASTY}, ready_socket="/run/first.sock"),
        BootProcess(name="second", argv=("second",)),
    ),
)


def test_the_volume_is_a_nocloud_seed() -> None:
    found = read(nocloud.seed(PLAN, instance_id="uid"))
    assert found["meta-data"] == b"instance-id: uid\nlocal-hostname: node-1\n"
    assert found["user-data"].startswith(b"#!/bin/sh\n")


def test_the_label_is_the_one_that_machines_look_for(tmp_path: Path) -> None:
    volume = tmp_path / "seed.iso"
    volume.write_bytes(nocloud.seed(PLAN, instance_id="uid"))
    said = subprocess.run(
        ["/usr/sbin/blkid", "-o", "value", "-s", "LABEL", str(volume)], capture_output=True, text=True, check=True
    )
    assert said.stdout == "cidata\n"


def test_the_script_writes_each_file_as_it_is() -> None:
    found = files_of(nocloud.seed(PLAN, instance_id="uid"))
    assert found == {file.path: (file.content, file.mode) for file in PLAN.files}


def test_the_script_starts_processes_with_their_words_as_they_are(tmp_path: Path) -> None:
    script = nocloud.user_data(PLAN).replace("put '/", f"put '{tmp_path}/").replace("put /", f"put {tmp_path}/")
    told = 'begin() { shift; "$@"; }\nwait_for() { echo "waits for $1"; }\n'
    script = script.replace("put '", told + "put '", 1)
    for name in ("first", "second"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name}|$1|$KEY"\n')
        program.chmod(0o755)
    script = script.replace(nocloud.PROGRAMS + "/", f"{tmp_path}/")
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stdout.splitlines() == [f"first|{NASTY}|{NASTY}", "waits for /run/first.sock", "second||"]
