"""Building a component from its pinned Go module under ``hack/components``.

The environment is cleaned of what would change the result (GOFLAGS, GOOS, CGO_…), so that two machines build the
same thing; module proxy, caches and certificates stay the user's. ``go.sum`` is the pin of every dependency:
``-mod=readonly`` refuses to change it. What comes out is asked for its version before it is used.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from autonodes.components.errors import BuildFailed
from autonodes.components.pins import Build, Pin, toolchain_pin
from autonodes.components.probe import ProbeFailed, is_version, versions_said
from autonodes.components.reporting import Meter, Progress
from autonodes.components.toolchain import go_command, go_environment

# Where things are, as the user has set it by environment or `go env -w`; nothing that changes what is built.
_KEPT = (
    *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH"),
    *("GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR"),
)
_APT = "apt-get install gcc libc6-dev pkg-config"
_TAIL = 2000  # characters of a failed build's output that are shown
_TICK_S = 1.0


def source_modules(source_tree: Path | None) -> Path | None:
    """The folder of Go modules in a source checkout; None elsewhere.

    :param source_tree: root of the checkout; None looks at where this package lies
    """
    root = source_tree if source_tree is not None else Path(__file__).parents[2]
    modules = root / "hack" / "components"
    return modules if modules.is_dir() else None


def build(pin: Pin, modules: Path, stage: Path, *, cache: Path, progress: Progress) -> None:
    """Build the binaries of ``pin`` into ``stage``; blocks for seconds (cached) to minutes.

    :raises BuildFailed: a tool is missing, the build fails, or the result is not the pinned version
    """
    recipe = pin.build
    module = modules / recipe.module
    if not (module / "go.mod").is_file():
        raise BuildFailed(f"{module} has no go.mod", "restore the checkout")
    _require_c(recipe)
    go = go_command(toolchain_pin(), cache, progress)
    command = [str(go), *_arguments(pin, stage)]
    with progress.build(str(pin)) as meter:
        _run(command, module, _environment(recipe, go), meter)
    _check(pin, stage)


def _arguments(pin: Pin, stage: Path) -> list[str]:
    recipe = pin.build
    variables = [f"-X {shlex.quote(f'{name}={pin.fill(value)}')}" for name, value in recipe.variables.items()]
    target = stage / pin.binaries[0] if len(pin.binaries) == 1 else f"{stage}/"
    arguments = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    if recipe.tags:
        arguments += ["-tags", ",".join(recipe.tags)]
    return [*arguments, "-ldflags", " ".join(["-s", "-w", *variables]), "-o", str(target), recipe.package]


def _environment(recipe: Build, go: Path) -> dict[str, str]:
    clean = go_environment()  # without the file of `go env -w`, whose places are put back
    return {
        **clean,
        **_places(go),
        "CGO_ENABLED": "1" if recipe.cgo else "0",
        "PATH": f"{go.parent}{os.pathsep}{clean.get('PATH', os.defpath)}",
    }


def _places(go: Path) -> dict[str, str]:
    asked = {name: value for name, value in os.environ.items() if name != "GOFLAGS"}
    answer = subprocess.run([str(go), "env", "-json", *_KEPT], capture_output=True, text=True, env=asked, check=False)
    if answer.returncode != 0:
        raise BuildFailed(f"go env fails:\n{answer.stderr.strip()[-_TAIL:]}", "mend the Go installation")
    places: dict[str, str] = json.loads(answer.stdout)
    return {name: value for name, value in places.items() if value}


def _require_c(recipe: Build) -> None:
    if not recipe.cgo:
        return
    compiler = shlex.split(os.environ.get("CC", "gcc"))[0]
    if shutil.which(compiler) is None:
        raise BuildFailed(f"no C compiler ({compiler})", _APT)
    for library in recipe.libraries:
        if not _has_library(library):
            raise BuildFailed(f"the C library {library} is missing", f"{_APT} {library}-dev")


def _has_library(name: str) -> bool:
    tool = os.environ.get("PKG_CONFIG", "pkg-config")
    if shutil.which(tool) is None:
        return False
    return subprocess.run([tool, "--exists", name], check=False).returncode == 0


def _run(command: list[str], directory: Path, environment: dict[str, str], meter: Meter) -> None:
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that an interrupted build takes its compilers along
            )
        except OSError as error:
            raise BuildFailed(f"{command[0]} can't be run ({error.strerror})", "mend the Go installation") from error
        _wait(process, meter)
        if process.returncode != 0:
            output.seek(0)
            text = output.read().strip()[-_TAIL:]
            raise BuildFailed(f"go build ended with {process.returncode}:\n{text}", "see the output above")


def _wait(process: subprocess.Popen[bytes], meter: Meter) -> None:
    started = time.monotonic()
    try:
        while not _ended(process):
            meter.tick(time.monotonic() - started)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    meter.tick(time.monotonic() - started)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=_TICK_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _check(pin: Pin, stage: Path) -> None:
    for binary in pin.binaries:
        path = stage / binary
        if not path.is_file():
            raise BuildFailed(f"the build made no {binary}", f"compare versions.toml with the module of {pin}")
        try:
            said = versions_said(path, pin)
        except ProbeFailed as error:
            raise BuildFailed(f"the {binary} that was built {error}", "see the error above") from error
        if not any(is_version(version, pin.version) for version in said):
            raise BuildFailed(
                f"the {binary} that was built says {', '.join(said) or 'no version'} instead of {pin.version}",
                "make go.mod and versions.toml agree",
            )
