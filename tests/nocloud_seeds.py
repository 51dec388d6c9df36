"""A machine's seed as the machine sees it: the volume is read, and its script really run, in a root of its own."""

from __future__ import annotations

import base64
import io
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pycdlib


def read(seed: bytes) -> dict[str, bytes]:
    """Name → content of the volume's files."""
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(seed))
    found = {}
    for name in ("user-data", "meta-data"):
        out = io.BytesIO()
        image.get_file_from_iso_fp(out, rr_path=f"/{name}")
        found[name] = out.getvalue()
    image.close()
    return found


def written(script: str) -> dict[str, bytes]:
    """Path → content of the files that a script writes, without running it."""
    parts = re.findall(r"^put (\S+) [0-7]+ <<'END'\n(.*?)END$", script, re.M | re.S)
    return {shlex.split(path)[0]: base64.b64decode(content) for path, content in parts}


def files_of(seed: bytes) -> Mapping[str, tuple[bytes, int]]:
    """Path → content and mode of the files that the script writes, without starting anything."""
    script = read(seed)["user-data"].decode()
    with tempfile.TemporaryDirectory() as root:
        # the same script, but for where the root is and that no process is started
        elsewhere = script.replace("put '/", f"put '{root}/").replace("put /", f"put {root}/")
        quiet = "\n".join(line for line in elsewhere.splitlines() if not line.startswith(("begin ", "wait_for ")))
        subprocess.run(["sh", "-c", quiet + "\n"], check=True)
        return {
            f"/{path.relative_to(root)}": (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            for path in Path(root).rglob("*")
            if path.is_file() and not path.name.startswith("autonodes-")
        }
