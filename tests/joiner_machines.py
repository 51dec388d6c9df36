"""What a machine does to join: makes keys and requests, and speaks to the API server as whom it is."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autonodes.kube.client import KubeClient, Object
from autonodes.kube.resources import CSRS, NODECLAIMS
from controlplane import RunningControlPlane
from joiner.certificates import CLIENT_SIGNER, SERVING_SIGNER

CLIENT_USAGES = ("digital signature", "client auth")
SERVING_USAGES = ("digital signature", "server auth")


async def make_claim(client: KubeClient, name: str = "") -> Object:
    requirement = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}
    reference = {"group": "autonodes.io", "kind": "LocalNodeClass", "name": "default"}
    body = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": name or f"claim-{uuid.uuid4().hex[:6]}"},
        "spec": {"requirements": [requirement], "nodeClassRef": reference},
    }
    return await client.create(NODECLAIMS, body)


class Machine:
    """:param identity: the ``user`` of its kubeconfig"""

    def __init__(self, plane: RunningControlPlane, directory: Path, identity: dict[str, Any]) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        document = yaml.safe_load(plane.kubeconfig.read_text())
        document["users"] = [{"name": document["users"][0]["name"], "user": identity}]
        path = directory / f"{uuid.uuid4().hex}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        self.client = KubeClient.from_kubeconfig(path)
        self._plane, self._directory = plane, directory

    @classmethod
    def with_token(cls, plane: RunningControlPlane, directory: Path, token: str) -> Machine:
        return cls(plane, directory, {"token": token})

    def with_certificate(self, certificate: str) -> Machine:
        """The same machine, from now on with its certificate (base64, as in the request's status)."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        identity = {"client-certificate-data": certificate, "client-key-data": base64.b64encode(pem).decode()}
        machine = Machine(self._plane, self._directory, identity)
        machine._key = self._key
        return machine

    async def ask_client(self, node: str, *, organizations: Sequence[str] = ("system:nodes",)) -> str:
        return await self._ask(CLIENT_SIGNER, node, CLIENT_USAGES, organizations=organizations)

    async def ask_serving(self, node: str, *addresses: str) -> str:
        names = [x509.DNSName(node), *(x509.IPAddress(IPv4Address(each)) for each in addresses)]
        return await self._ask(SERVING_SIGNER, node, SERVING_USAGES, names=names)

    async def _ask(
        self,
        signer: str,
        node: str,
        usages: Sequence[str],
        *,
        organizations: Sequence[str] = ("system:nodes",),
        names: Sequence[x509.GeneralName] = (),
    ) -> str:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"))
        builder = x509.CertificateSigningRequestBuilder(x509.Name(attributes))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        spec = {"signerName": signer, "usages": list(usages), "request": base64.b64encode(pem).decode()}
        made = await self.client.create(CSRS, {"metadata": {"generateName": "csr-"}, "spec": spec})
        return str(made["metadata"]["name"])
