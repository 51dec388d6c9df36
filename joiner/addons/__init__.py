"""The add-ons of a tenant cluster: ordinary objects, rendered from the YAML files beside this module.

Placeholders are ``${name}`` (`string.Template`); a literal dollar is ``$$``. `manifests` returns plain dicts in the
order in which they can be applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

import yaml

ADDONS = ("bootstrap", "flannel", "kube-proxy", "konnectivity-agent", "coredns", "local-path")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddonSettings:
    """:param server: the API server's URL as the nodes reach it (not the service address: that needs the add-ons)
    :param konnectivity_server: ``HOST:PORT`` of the Konnectivity server as the nodes reach it
    :param images: add-on → image reference, from `joiner.images.image_references`
    """

    server: str
    konnectivity_server: str
    images: Mapping[str, str]
    pod_cidr: str = "10.244.0.0/16"
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"


def manifests(settings: AddonSettings, *, only: tuple[str, ...] = ADDONS) -> list[dict[str, Any]]:
    """Every object of the add-ons named in ``only``.

    :raises KeyError: a template names a placeholder that there is no value for
    """
    values = {
        "server": settings.server,
        "konnectivity_server": settings.konnectivity_server,
        "pod_cidr": settings.pod_cidr,
        "cluster_dns": settings.cluster_dns,
        "cluster_domain": settings.cluster_domain,
        **{name.replace("-", "_"): reference for name, reference in settings.images.items()},
    }
    return [document for addon in only for document in _render(addon, values)]


def _render(addon: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    text = resources.files(__package__).joinpath(f"{addon}.yaml").read_text()
    return [document for document in yaml.safe_load_all(Template(text).substitute(values)) if document]
