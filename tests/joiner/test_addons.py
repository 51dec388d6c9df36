"""The add-ons: complete objects, nothing left to substitute, none of them a reason to buy a node."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from autonodes.core import labels
from joiner.addons import ADDONS, AddonSettings, manifests
from joiner.images import image_references

VERSIONS = {"kubernetes": "v1.37.2", "flannel": "v0.28.10", "coredns": "v1.15.0", "local-path-provisioner": "v0.0.30"}


def rendered() -> list[dict[str, Any]]:
    return manifests(
        AddonSettings(
            server="https://100.64.0.1:6443",
            konnectivity_server="100.64.0.1:8132",
            images=image_references(VERSIONS),
        )
    )


def workloads(kind: str) -> list[dict[str, Any]]:
    return [document for document in rendered() if document["kind"] == kind]


def test_nothing_is_left_to_substitute() -> None:
    text = yaml.safe_dump_all(rendered())
    assert "${" not in text
    assert "https://100.64.0.1:6443" in text


def test_every_object_has_what_server_side_apply_needs() -> None:
    keys = [
        (document["apiVersion"], document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        for document in rendered()
    ]
    assert len(set(keys)) == len(keys)


def test_what_the_network_needs_runs_on_every_node_from_its_first_second() -> None:
    for daemonset in workloads("DaemonSet"):
        pod = daemonset["spec"]["template"]["spec"]
        assert pod["tolerations"] == [{"operator": "Exists"}], daemonset["metadata"]["name"]
        assert pod["hostNetwork"] is True
        assert pod["priorityClassName"] == "system-node-critical"


def test_deployments_neither_buy_nor_hold_a_node() -> None:
    assert {document["metadata"]["name"] for document in workloads("Deployment")} == {
        "coredns",
        "local-path-provisioner",
    }
    for deployment in workloads("Deployment"):
        assert deployment["spec"]["template"]["metadata"]["annotations"] == {labels.EXPENDABLE: "true"}


def test_every_container_states_its_request_and_an_image_that_we_make() -> None:
    made = set(image_references(VERSIONS).values())
    for document in workloads("DaemonSet") + workloads("Deployment"):
        for container in document["spec"]["template"]["spec"]["containers"]:
            assert container["image"] in made
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize("addon", ADDONS)
def test_an_unknown_placeholder_is_an_error(addon: str) -> None:
    settings = AddonSettings(server="https://x", konnectivity_server="x:1", images={})
    text_needs_images = addon != "bootstrap"
    if text_needs_images:
        with pytest.raises(KeyError):
            manifests(settings, only=(addon,))
    else:
        assert manifests(settings, only=(addon,))
