from __future__ import annotations

from pathlib import Path

import pytest

from autonodes.api import autonodes, plugins
from autonodes.api.crds import crds
from autonodes.api.vcluster import with_provider
from autonodes.core.errors import ConfigError, EnvironmentFault

_KIND = """
from typing import ClassVar, Literal
from autonodes.api.nodeclass import LocalNodeClassSpec, NodeClassStatus
from autonodes.api.objects import CustomResource, ObjectMeta

class AcmeNodeClass(CustomResource):
    plural: ClassVar = "acmenodeclasses"
    api_version: Literal["autonodes.io/v1alpha1"] = "autonodes.io/v1alpha1"
    kind: Literal["AcmeNodeClass"] = "AcmeNodeClass"
    metadata: ObjectMeta = ObjectMeta()
    spec: LocalNodeClassSpec = LocalNodeClassSpec()
    status: NodeClassStatus = NodeClassStatus()
"""


def installed(directory: Path, monkeypatch: pytest.MonkeyPatch, *, module: str, target: str) -> None:
    """A package of somebody else, as pip leaves it."""
    info = directory / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINTS}]\nacme = {module}:{target}\n")
    (directory / f"{module}.py").write_text(_KIND)
    monkeypatch.syspath_prepend(directory)


def test_the_kind_of_an_installed_package_is_served_and_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch, module="acme_one", target="AcmeNodeClass")
    assert "acmenodeclasses.autonodes.io" in [each["metadata"]["name"] for each in crds()]
    kinds = [each["kind"] for each in autonodes.objects(with_provider("acme"))]
    assert kinds[0] == "AcmeNodeClass"


def test_without_it_the_provider_is_unknown() -> None:
    with pytest.raises(ConfigError, match="known providers are"):
        autonodes.objects(with_provider("acme"))


def test_an_entry_point_that_is_no_kind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, module="acme_two", target="ClassVar")
    with pytest.raises(EnvironmentFault, match="acme_two:ClassVar"):
        plugins.node_classes()
