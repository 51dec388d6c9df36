"""The pins are consistent with each other and with the Go modules that they are built from."""

import re
from pathlib import Path

import pytest

from autonodes.components.pins import Pin, pins, select, toolchain_pin
from autonodes.core.errors import ConfigError

MODULES = Path(__file__).parents[2] / "hack" / "components"
ALL = pytest.mark.parametrize("pin", pins().values(), ids=str)


def go_mod(pin: Pin) -> str:
    return (MODULES / pin.build.module / "go.mod").read_text()


@ALL
def test_the_go_module_requires_the_pinned_version(pin: Pin) -> None:
    required = re.search(rf"^\s*(?:require )?{re.escape(pin.build.path)} v(\S+)", go_mod(pin), re.MULTILINE)
    assert required is not None
    assert required[1] == pin.version


@ALL
def test_every_dependency_is_pinned_by_a_checksum(pin: Pin) -> None:
    assert f"{pin.build.path} v{pin.version} h1:" in (MODULES / pin.build.module / "go.sum").read_text()


@ALL
def test_the_pinned_toolchain_is_new_enough_for_every_module(pin: Pin) -> None:
    needed = re.search(r"^go (\S+)$", go_mod(pin), re.MULTILINE)
    assert needed is not None
    assert needed[1] == toolchain_pin().minimum


def test_every_go_module_belongs_to_a_component() -> None:
    assert {path.parent.name for path in MODULES.glob("*/go.mod")} == {p.build.module for p in pins().values()}


def test_kubernetes_is_built_with_the_version_that_it_will_report() -> None:
    kubernetes = pins()["kubernetes"]
    major, minor, _ = kubernetes.version.split(".")
    variables = {name.rpartition(".")[2]: value for name, value in kubernetes.build.variables.items()}
    assert (variables["gitMajor"], variables["gitMinor"]) == (major, minor)
    assert kubernetes.fill(variables["gitVersion"]) == f"v{kubernetes.version}"


def test_no_two_components_yield_the_same_binary() -> None:
    binaries = [binary for pin in pins().values() for binary in pin.binaries]
    assert len(binaries) == len(set(binaries))


def test_binaries_without_an_archive_are_files_of_their_own() -> None:
    kubernetes = pins()["kubernetes"]
    files = kubernetes.files("arm64")
    assert [file.name for file in files] == list(kubernetes.binaries)
    assert files[0].url == f"https://dl.k8s.io/release/v{kubernetes.version}/bin/linux/arm64/kube-apiserver"
    assert files[0].checksum_url == f"{files[0].url}.sha256"


def test_an_archive_is_one_file_with_every_binary_in_it() -> None:
    containerd = pins()["containerd"]
    (file,) = containerd.files("amd64")
    assert file.members["ctr"] == "bin/ctr"
    assert set(file.members) == set(containerd.binaries)


def test_a_component_without_a_release_has_no_files() -> None:
    assert pins()["local-path-provisioner"].files("amd64") == ()


def test_a_component_means_all_its_binaries() -> None:
    containerd = pins()["containerd"]
    assert select(["containerd"]) == {containerd: containerd.binaries}


def test_a_binary_means_itself() -> None:
    assert select(["kubectl", "loopback"]) == {pins()["kubernetes"]: ("kubectl",), pins()["cni-plugins"]: ("loopback",)}


def test_no_names_mean_everything() -> None:
    assert list(select()) == list(pins().values())


def test_an_unknown_name_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'kubectl'"):
        select(["kubctl"])


def test_a_name_like_no_other_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"known are .*kube-apiserver"):
        select(["postgres"])
