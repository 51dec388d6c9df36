"""Whom Services and workloads select."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autonodes.controllers.clock import SystemClock
from autonodes.core.requirements import Requirements
from autonodes.kube.client import KubeClient
from autonodes.kube.cluster import ClusterState
from autonodes.kube.resources import REPLICASETS, REPLICATIONCONTROLLERS, SERVICES, STATEFULSETS
from autonodes.kube.workloads import decode_replicaset, decode_service
from kube.waiting import running, until

WEB = {"matchLabels": {"app": "web"}}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}}


def raw(selector: Any) -> bytes:
    return msgspec.json.encode({"metadata": {"name": "a", "namespace": "shop", "uid": "u"}, "spec": selector})


def test_a_service_selects_by_labels_and_a_replicaset_by_expressions_too() -> None:
    assert decode_service(raw({"selector": {"app": "web"}})).selector == Requirements.from_labels({"app": "web"})
    expression = {"key": "tier", "operator": "In", "values": ["front", "back"]}
    found = decode_replicaset(raw({"selector": {**WEB, "matchExpressions": [expression]}}))
    assert (found.uid, found.namespace) == ("u", "shop")
    assert str(found.selector) == "app In [web]; tier In [back, front]"


def test_a_service_without_a_selector_selects_no_pod() -> None:
    """Its endpoints are somebody else's; in Kubernetes, too, it counts for nothing."""
    assert not decode_service(raw({"selector": None})).selector


@pytest.mark.integration
@pytest.mark.usefixtures("installed")
async def test_all_kinds_are_known_by_the_uid_of_the_object(client: KubeClient, namespace: str) -> None:
    metadata = {"name": "web"}
    bodies = {
        SERVICES: {"selector": {"app": "web"}, "clusterIP": "None", "ports": [{"port": 80}]},
        REPLICATIONCONTROLLERS: {"replicas": 0, "selector": {"app": "web"}, "template": TEMPLATE},
        REPLICASETS: {"replicas": 0, "selector": WEB, "template": TEMPLATE},
        STATEFULSETS: {"replicas": 0, "selector": WEB, "template": TEMPLATE, "serviceName": "web"},
    }
    state = ClusterState(client, SystemClock(), selectors=True)
    assert state.workloads is not None
    async with running(state.run()):
        made = [
            await client.create(resource, {"metadata": metadata, "spec": spec}, namespace)
            for resource, spec in bodies.items()
        ]
        _, *owners = [each["metadata"]["uid"] for each in made]
        await until(lambda: state.workloads is not None and len(state.workloads.contents().owners) == 3)
        found = state.workloads.contents()
    web = Requirements.from_labels({"app": "web"})
    assert found.owners == dict.fromkeys(owners, web)
    assert found.services[namespace] == [web]
