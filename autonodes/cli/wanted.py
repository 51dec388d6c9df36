"""What the user wants a cluster to be: from a file, from what it was the last time, or by default.

Nothing is started before what is wanted is known to be right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autonodes.cli.settings import DEFAULT_PROVIDER, PROVIDERS, Settings, settings_of
from autonodes.cli.state import Cluster, Record
from autonodes.core.errors import ConfigError

if TYPE_CHECKING:
    from autonodes.api.vcluster import VClusterConfig


@dataclass(frozen=True, slots=True)
class Wanted:
    """:param config: gives the whole configuration; costs 0.3 s when it is asked for the first time"""

    settings: Settings
    config: Callable[[], VClusterConfig]


def wanted(cluster: Cluster, *, file: Path | None, provider: str | None, metrics_port: int | None = None) -> Wanted:
    """:raises ConfigError: the file, or a change of what can't be changed"""
    found = _wanted(cluster, file=file, provider=provider)
    if metrics_port is None:
        return found
    return Wanted(found.settings, lambda: found.config().with_metrics_port(metrics_port))


def _wanted(cluster: Cluster, *, file: Path | None, provider: str | None) -> Wanted:
    if file is not None and provider is not None:
        raise ConfigError("--provider", provider, "the file names its providers: give one of --file and --provider")
    record = cluster.record()
    if file is not None:
        return _checked(cluster, record, _with_pools(_load(file)))
    if record is None:
        return _by_default(provider or DEFAULT_PROVIDER)
    if provider is not None and provider not in record.settings.providers:
        known = ", ".join(record.settings.providers)
        remedy = f"cluster {cluster.name} has nodes of {known}: to add a provider, write a file and give it with -f"
        raise ConfigError("--provider", provider, remedy)
    if not cluster.config_file.exists():
        return _by_default(record.settings.providers[0])  # an `up` that did not get far
    if digest(cluster.config_file.read_bytes()) == record.config_digest:
        return Wanted(record.settings, lambda: _load(cluster.config_file))
    return _checked(cluster, record, _load(cluster.config_file))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _by_default(provider: str) -> Wanted:
    def config() -> VClusterConfig:
        from autonodes.api.vcluster import with_provider

        return with_provider(provider)

    if provider not in PROVIDERS:
        return _valid(config())  # which says what is wrong with it
    return Wanted(Settings(providers=(provider,)), config)


def _load(file: Path) -> VClusterConfig:
    from autonodes.api.vcluster import load

    return load(file)


def _with_pools(config: VClusterConfig) -> VClusterConfig:
    """A file that says nothing of nodes gets the default pool."""
    from autonodes.api.vcluster import with_provider

    if config.private_nodes.auto_nodes:
        return config
    return config.model_copy(update={"private_nodes": with_provider(DEFAULT_PROVIDER).private_nodes})


def _valid(config: VClusterConfig) -> Wanted:
    from autonodes.api import autonodes

    autonodes.objects(config)
    return Wanted(settings_of(config), lambda: config)


def _checked(cluster: Cluster, record: Record | None, config: VClusterConfig) -> Wanted:
    found = _valid(config)
    if record is not None:
        _check_change(cluster, record.settings, found.settings)
    return found


def _check_change(cluster: Cluster, before: Settings, after: Settings) -> None:
    for path, was, now in (
        ("networking.serviceCIDR", before.service_cidr, after.service_cidr),
        ("networking.podCIDR", before.pod_cidr, after.pod_cidr),
        ("networking.advanced.clusterDomain", before.cluster_domain, after.cluster_domain),
    ):
        if was != now:
            remedy = f"cluster {cluster.name} was made with {was}, and that can't change: make another cluster"
            raise ConfigError(path, now, remedy)
    if missing := sorted(set(before.providers) - set(after.providers)):
        remedy = f"cluster {cluster.name} has nodes of {missing[0]}: keep that provider, without pools if need be"
        raise ConfigError("privateNodes.autoNodes", list(after.providers), remedy)
