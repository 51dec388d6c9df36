"""What a user gets who gives a file, a provider, nothing, or something else than the last time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autonodes.api import autonodes
from autonodes.api.vcluster import VClusterConfig, parse, with_provider
from autonodes.cli import planning, state
from autonodes.cli.settings import PROVIDERS, Settings, settings_of
from autonodes.cli.state import Cluster
from autonodes.cli.wanted import digest, wanted
from autonodes.core.errors import ConfigError

TWO_PROVIDERS = "privateNodes: {autoNodes: [{provider: kwok, dynamic: [{name: a}]}, {provider: local}]}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("AUTONODES_HOME", str(tmp_path / "home"))
    yield state.cluster("a")
    state.cluster("a").remove()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vcluster.yaml"


def brought_up(cluster: Cluster, config: VClusterConfig) -> None:
    """As `up` leaves it."""
    content = config.dump().encode()
    record = planning.choose(cluster, settings_of(config), ())
    cluster.remember(replace(record, config_digest=digest(content)))
    cluster.config_file.write_bytes(content)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_quick_settings_are_what_the_default_configuration_says(cluster: Cluster, provider: str) -> None:
    found = wanted(cluster, file=None, provider=provider)
    assert found.settings == settings_of(with_provider(provider)) == Settings(providers=(provider,))
    assert found.config() == with_provider(provider)


def test_every_provider_whose_node_class_we_can_make_is_known_to_the_quick_way() -> None:
    assert set(PROVIDERS) == set(autonodes.NODE_CLASSES) - autonodes.OF_ITS_OWN


def test_without_anything_nodes_come_from_this_machine(cluster: Cluster) -> None:
    assert wanted(cluster, file=None, provider=None).settings.providers == ("local",)


def test_an_unknown_provider_is_refused_with_those_that_are_known(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="did you mean kwok"):
        wanted(cluster, file=None, provider="kwock")


def test_a_file_is_what_is_wanted(cluster: Cluster, file: Path) -> None:
    file.write_text("controlPlane: {endpoint: a.example.com, proxy: {port: 7443, extraSANs: [b.example.com]}}")
    found = wanted(cluster, file=file, provider=None)
    assert (found.settings.port, found.settings.hosts) == (7443, ("a.example.com", "b.example.com"))
    assert found.config().providers() == ("local",)  # a file that says nothing of nodes


def test_a_file_and_a_provider_are_one_too_many(cluster: Cluster, file: Path) -> None:
    file.write_text("")
    with pytest.raises(ConfigError, match="give one of --file and --provider"):
        wanted(cluster, file=file, provider="kwok")


def test_without_anything_a_cluster_stays_what_it_is(cluster: Cluster) -> None:
    config = parse(TWO_PROVIDERS, source="f")
    brought_up(cluster, config)
    for provider in (None, "kwok", "local"):
        found = wanted(cluster, file=None, provider=provider)
        assert found.settings == settings_of(config)
        assert found.config() == config


def test_a_remembered_file_that_somebody_has_changed_is_checked_again(cluster: Cluster) -> None:
    brought_up(cluster, with_provider("kwok"))
    cluster.config_file.write_text("privateNodes: {autoNodes: [{provider: kwok, dynamic: [{nam: a}]}]}")
    with pytest.raises(ConfigError, match="did you mean"):
        wanted(cluster, file=None, provider=None)


def test_a_cluster_whose_first_up_did_not_get_far_keeps_its_provider(cluster: Cluster) -> None:
    brought_up(cluster, with_provider("kwok"))
    cluster.config_file.unlink()
    assert wanted(cluster, file=None, provider=None).settings.providers == ("kwok",)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("networking: {serviceCIDR: 10.0.0.0/16}", "networking.serviceCIDR"),
        ("networking: {podCIDR: 10.0.0.0/16}", "networking.podCIDR"),
        ("networking: {advanced: {clusterDomain: example.com}}", "networking.advanced.clusterDomain"),
        ("privateNodes: {autoNodes: [{provider: kwok}]}", "privateNodes.autoNodes"),
    ],
)
def test_what_cannot_change_is_refused(cluster: Cluster, file: Path, text: str, path: str) -> None:
    brought_up(cluster, with_provider("local"))
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        wanted(cluster, file=file, provider=None)
    assert raised.value.path == path


def test_another_provider_alone_is_refused_for_it_would_drop_the_pools(cluster: Cluster) -> None:
    brought_up(cluster, with_provider("local"))
    with pytest.raises(ConfigError, match="to add a provider"):
        wanted(cluster, file=None, provider="kwok")
