"""Builds are the same everywhere, and nothing that came out wrong is used.

A stand-in for Go records how it is called; the last test builds a real module.
"""

import os
import subprocess
from pathlib import Path

import pytest

from autonodes.components.build import build, source_modules
from autonodes.components.errors import BuildFailed
from autonodes.components.pins import Pin, pins
from autonodes.components.reporting import Silent
from component_releases import RecordedProgress, put_script, script

CHECKOUT = Path(__file__).parents[2]


class StandInGo:
    """A ``go`` first on PATH that writes scripts for binaries and notes its arguments and environment."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.record = directory, directory / "record"
        monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
        self.install()

    def install(self, *, version: str = "1.26.6", says: str = "", body: str = "") -> None:
        """
        :param says: the version that what it builds will report
        :param body: shell commands instead of a build
        """
        (self.directory / "product").write_bytes(script(says))
        put_script(
            self.directory / "go",
            f"""#!/bin/sh
case "$1" in
version) echo "go version go{version} linux/amd64"; exit ;;
env) echo '{{"GOPROXY": "https://proxy.example"}}'; exit ;;
esac
env -0 > {self.record}.env; printf '%s\\0' "$PWD" "$@" > {self.record}.args
{body}
while [ "$1" != -o ]; do shift; done
case "$2" in
*/) for name in $BINARIES; do cp {self.directory}/product "$2$name" && chmod +x "$2$name"; done ;;
*) cp {self.directory}/product "$2" && chmod +x "$2" ;;
esac
""",
        )

    @property
    def arguments(self) -> list[str]:
        return self._read("args")[1:]

    @property
    def working_directory(self) -> Path:
        return Path(self._read("args")[0])

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._read("env"))  # type: ignore[misc]

    def _read(self, kind: str) -> list[str]:
        return self.record.with_suffix(f".{kind}").read_text().split("\0")[:-1]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInGo:
    (tmp_path / "tools").mkdir()
    return StandInGo(tmp_path / "tools", monkeypatch)


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "stage").mkdir()
    return tmp_path / "stage"


def make(pin: Pin, stage: Path) -> None:
    build(pin, CHECKOUT / "hack" / "components", stage, cache=stage / "cache", progress=Silent())


def test_a_checkout_has_modules_and_an_installation_has_none(tmp_path: Path) -> None:
    assert source_modules(None) == CHECKOUT / "hack" / "components"
    assert source_modules(tmp_path) is None


def test_the_module_is_built_reproducibly_with_its_version(go: StandInGo, stage: Path) -> None:
    runc = pins()["runc"]
    go.install(says=runc.version)
    make(runc, stage)
    assert go.working_directory == CHECKOUT / "hack" / "components" / "runc"
    assert go.arguments == [
        *("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", "seccomp"),
        *("-ldflags", f"-s -w -X main.version={runc.version}", "-o", str(stage / "runc"), "tool"),
    ]
    assert (stage / "runc").read_bytes() == script(runc.version)


def test_several_binaries_are_built_at_once(go: StandInGo, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = pins()["cni-plugins"]
    monkeypatch.setenv("BINARIES", " ".join(plugins.binaries))
    go.install(says=plugins.version)
    make(plugins, stage)
    assert go.arguments[-2:] == [f"{stage}/", "tool"]
    assert {path.name for path in stage.iterdir()} == set(plugins.binaries)


def test_nothing_in_the_environment_changes_what_is_built(
    go: StandInGo, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GOFLAGS": "-race", "GOOS": "plan9", "GOEXPERIMENT": "x", "CGO_CFLAGS": "-O0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/company.pem")
    flannel = pins()["flannel"]
    go.install(says=flannel.version)
    make(flannel, stage)
    seen = {name: value for name, value in go.environment.items() if name.startswith(("GO", "CGO"))}
    assert seen == {
        "GOPROXY": "https://proxy.example",  # where things are stays the user's
        "GOENV": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    assert go.environment["SSL_CERT_FILE"] == "/etc/company.pem"


def test_a_failed_build_shows_what_the_compiler_said(go: StandInGo, stage: Path) -> None:
    go.install(body="echo 'main.go:3: undefined: x' >&2; exit 1")
    with pytest.raises(BuildFailed, match=r"go build ended with 1:\nmain\.go:3: undefined: x"):
        make(pins()["flannel"], stage)


def test_a_binary_of_another_version_is_refused(go: StandInGo, stage: Path) -> None:
    go.install(says="9.9.9")
    with pytest.raises(BuildFailed, match=r"flanneld that was built says 9\.9\.9 instead of"):
        make(pins()["flannel"], stage)


def test_a_build_without_a_binary_is_refused(go: StandInGo, stage: Path) -> None:
    go.install(body="exit 0")
    with pytest.raises(BuildFailed, match="made no flanneld"):
        make(pins()["flannel"], stage)


def test_an_interrupted_build_takes_its_compilers_along(go: StandInGo, stage: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    go.install(body=f"sleep 600 > {fifo} & wait")

    class Interrupted(RecordedProgress):
        def build(self, what: str) -> "Interrupted":  # type: ignore[override]
            return self

        def __enter__(self) -> "Interrupted":
            return self

        def __exit__(self, *_: object) -> None: ...

        def tick(self, elapsed_s: float) -> None:
            raise KeyboardInterrupt

    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(KeyboardInterrupt):
        build(pins()["flannel"], CHECKOUT / "hack" / "components", stage, cache=stage, progress=Interrupted())
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # end of file: nobody holds the other end any more
    os.close(reader)


def test_a_missing_compiler_is_said_with_the_command_that_installs_it(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(stage))
    with pytest.raises(BuildFailed, match=r"no C compiler \(gcc\): apt-get install gcc libc6-dev pkg-config$"):
        make(pins()["kine"], stage)


def test_a_missing_library_is_said_with_the_command_that_installs_it(
    go: StandInGo, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PKG_CONFIG", "false")
    with pytest.raises(BuildFailed, match=r"libseccomp is missing: apt-get install .* libseccomp-dev$"):
        make(pins()["runc"], stage)


def test_a_folder_without_a_module_is_said(tmp_path: Path, stage: Path) -> None:
    with pytest.raises(BuildFailed, match=r"has no go\.mod"):
        build(pins()["kine"], tmp_path, stage, cache=stage, progress=Silent())


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_real_module_builds_binaries_that_tell_their_version(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-bogus")
    plugins = pins()["cni-plugins"]
    # Where CI has no Go, the toolchain from the machine's cache is used, or installed there.
    from autonodes.components import default_cache

    monkeypatch.delenv("AUTONODES_CACHE")
    build(plugins, CHECKOUT / "hack" / "components", stage, cache=default_cache(os.environ), progress=Silent())
    said = subprocess.run([stage / "loopback"], capture_output=True, text=True, check=False, env={})
    assert f"CNI loopback plugin v{plugins.version}" in said.stdout + said.stderr
    assert str(CHECKOUT).encode() not in (stage / "loopback").read_bytes()  # -trimpath
