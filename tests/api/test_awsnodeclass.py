from __future__ import annotations

from typing import Any

import pytest

from autonodes.api.awsnodeclass import AWSNodeClass
from autonodes.api.validation import validate
from autonodes.core.errors import InvalidDocumentError
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import InvalidError
from autonodes.kube.resources import node_class

ENOUGH: dict[str, Any] = {
    "amiSelectorTerms": [{"id": "ami-0123"}],
    "subnetSelectorTerms": [{"tags": {"autonodes:discovery": "demo"}}],
    "securityGroupSelectorTerms": [{"name": "nodes"}],
    "role": "node",
}
GP3 = {"volumeSize": "100Gi", "volumeType": "gp3", "iops": 4000, "throughput": 250, "kmsKeyID": "alias/x"}


def of(**spec: Any) -> dict[str, Any]:
    full = {key: value for key, value in (ENOUGH | spec).items() if value is not None}
    return {"apiVersion": "autonodes.io/v1alpha1", "kind": "AWSNodeClass", "metadata": {"name": "aws"}, "spec": full}


GOOD = [
    of(),
    of(role=None, instanceProfile="node"),
    of(amiSelectorTerms=[{"name": "node-*", "owner": "amazon"}, {"tags": {"a": "*"}, "name": "b"}]),
    of(capacityReservationSelectorTerms=[{"id": "cr-1"}], placementGroup="near", tenancy="dedicated", maxPods=110),
    of(blockDeviceMappings=[{"deviceName": "/dev/xvda", "rootVolume": True, "ebs": GP3}, {"deviceName": "/dev/xvdb"}]),
    of(metadataOptions={"httpTokens": "required", "httpPutResponseHopLimit": 2, "httpProtocolIPv6": "enabled"}),
    of(tags={"team": "a", "Name": "b c"}, userData="#!/bin/sh\ntrue\n", efa=True, associatePublicIPAddress=False),
]
BAD = [
    (of(role=None), "spec.role"),
    (of(instanceProfile="both"), "spec.role"),
    (of(amiSelectorTerms=[]), "spec.amiSelectorTerms"),
    (of(subnetSelectorTerms=None), "spec.subnetSelectorTerms"),
    (of(subnetSelectorTerms=[{}]), "spec.subnetSelectorTerms[0]"),
    (of(subnetSelectorTerms=[{"id": "sg-1"}]), "spec.subnetSelectorTerms[0].id"),
    (of(securityGroupSelectorTerms=[{"id": "sg-1", "name": "x"}]), "spec.securityGroupSelectorTerms[0].id"),
    (of(metadataOptions={"httpTokens": "optional"}), "spec.metadataOptions.httpTokens"),
    (of(tags={"kubernetes.io/x": "y"}), "spec.tags"),
    (of(tags={"autonodes:cluster": "y"}), "spec.tags"),
    (of(tenancy="host"), "spec.tenancy"),
    (of(blockDeviceMappings=[{"deviceName": "a", "rootVolume": True}] * 2), "spec.blockDeviceMappings"),
    (of(blockDeviceMappings=[{"deviceName": "a", "ebs": {"volumeSize": "x"}}]),
     "spec.blockDeviceMappings[0].ebs.volumeSize"),
]  # fmt: skip


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_what_is_good_is_accepted(document: dict[str, Any]) -> None:
    assert validate(AWSNodeClass, document, source="x").name == "aws"


@pytest.mark.parametrize(("document", "at"), BAD, ids=str)
def test_what_is_bad_is_refused_by_its_path(document: dict[str, Any], at: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        validate(AWSNodeClass, document, source="x")
    assert {error.path for error in caught.value.errors} == {at}


@pytest.mark.integration
async def test_the_api_server_judges_alike(client: KubeClient) -> None:
    kind = node_class("AWSNodeClass")
    for document in GOOD:
        stored = await client.create(kind, document)
        assert AWSNodeClass.from_api(stored).name == "aws"
        await client.delete(kind, "aws")
    for document, at in BAD:
        with pytest.raises(InvalidError) as caught:
            await client.create(kind, document)
        assert at.rpartition(".")[0] in str(caught.value)
