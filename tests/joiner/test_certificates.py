"""The decision about a certificate request, case by case, and the reading of real PKCS#10 requests."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from joiner.certificates import (
    CLIENT_SIGNER,
    PATIENCE,
    SERVING_SIGNER,
    ClaimFacts,
    Content,
    Facts,
    Requester,
    TokenFacts,
    decide,
)
from joiner.tokens import GROUP

CLIENT_USAGES = frozenset({"digital signature", "client auth"})
SERVING_USAGES = frozenset({"digital signature", "server auth"})
NODE_IP = ip_address("10.88.0.7")

SUBJECT = Content(common_names=("system:node:claim-a",), organizations=("system:nodes",))
CLAIM = ClaimFacts(name="claim-a", uid="uid-a")
TOKEN = TokenFacts(claim_name="claim-a", claim_uid="uid-a")

BOOTSTRAP = Requester(
    username="system:bootstrap:abcdef",
    groups=frozenset({"system:bootstrappers", GROUP, "system:authenticated"}),
    signer=CLIENT_SIGNER,
    usages=CLIENT_USAGES,
)
NODE = Requester(
    username="system:node:claim-a",
    groups=frozenset({"system:nodes", "system:authenticated"}),
    signer=CLIENT_SIGNER,
    usages=CLIENT_USAGES,
)
SERVER = replace(NODE, signer=SERVING_SIGNER, usages=SERVING_USAGES)
JOINING = Facts(token=TOKEN, claim=CLAIM)
JOINED = Facts(claim=CLAIM, addresses=frozenset({NODE_IP}))
SERVING = replace(SUBJECT, dns_names=("claim-a",), addresses=(NODE_IP,))


@pytest.mark.parametrize(
    ("requester", "content", "facts"),
    [
        pytest.param(BOOTSTRAP, SUBJECT, JOINING, id="first certificate of a claim's machine"),
        pytest.param(
            replace(BOOTSTRAP, usages=CLIENT_USAGES | {"key encipherment"}), SUBJECT, JOINING, id="with an RSA key"
        ),
        pytest.param(NODE, SUBJECT, JOINED, id="renewal by the node"),
        pytest.param(NODE, SUBJECT, Facts(claim=replace(CLAIM, deleting=True)), id="renewal while the node is drained"),
        pytest.param(SERVER, SERVING, JOINED, id="serving, name and address"),
        pytest.param(SERVER, replace(SERVING, addresses=()), Facts(claim=CLAIM), id="serving, name only"),
        pytest.param(SERVER, replace(SERVING, dns_names=()), JOINED, id="serving, address only"),
        pytest.param(
            replace(SERVER, usages=SERVING_USAGES | {"key encipherment"}), SERVING, JOINED, id="serving, RSA key"
        ),
    ],
)
def test_a_node_gets_what_its_claim_asks_for(requester: Requester, content: Content, facts: Facts) -> None:
    decision = decide(requester, content, facts)
    assert (decision.verdict, decision.reason) == ("approve", "NodeOfClaim")


def subject(*names: str, **changes: Any) -> Content:
    return replace(SUBJECT, common_names=names, **changes)


ANY_CLIENT_FAULTS = [
    ("no common name", subject(), "WrongCommonName"),
    ("a common name that is no node's", subject("admin"), "WrongCommonName"),
    ("the prefix alone", subject("system:node:"), "WrongCommonName"),
    ("a name that no node can have", subject("system:node:../secrets"), "WrongCommonName"),
    ("two common names", subject("system:node:claim-a", "system:node:claim-b"), "WrongCommonName"),
    ("another claim's name", subject("system:node:claim-b"), "WrongNode"),
    ("no organization", replace(SUBJECT, organizations=()), "WrongOrganization"),
    ("another organization", replace(SUBJECT, organizations=("system:masters",)), "WrongOrganization"),
    ("a second organization", replace(SUBJECT, organizations=("system:nodes", "system:masters")), "WrongOrganization"),
    ("a DNS name", replace(SUBJECT, dns_names=("claim-a",)), "UnexpectedNames"),
    ("an address", replace(SUBJECT, addresses=(NODE_IP,)), "UnexpectedNames"),
    ("a further subject attribute", replace(SUBJECT, others=("subject attribute OU",)), "UnexpectedContent"),
]


@pytest.mark.parametrize(("content", "reason"), [pytest.param(*rest, id=name) for name, *rest in ANY_CLIENT_FAULTS])
@pytest.mark.parametrize(("requester", "facts"), [(BOOTSTRAP, JOINING), (NODE, JOINED)], ids=["first", "renewal"])
def test_a_client_certificate_names_its_node_and_nothing_else(
    requester: Requester, facts: Facts, content: Content, reason: str
) -> None:
    decision = decide(requester, content, facts)
    assert (decision.verdict, decision.reason) == ("deny", reason)


@pytest.mark.parametrize(
    ("requester", "facts", "reason"),
    [
        pytest.param(BOOTSTRAP, replace(JOINING, token=None), "UnknownToken", id="a token that is gone"),
        pytest.param(
            replace(BOOTSTRAP, groups=frozenset({"system:bootstrappers"})), JOINING, "UnknownToken", id="other token"
        ),
        pytest.param(BOOTSTRAP, replace(JOINING, token=replace(TOKEN, expired=True)), "TokenExpired", id="expired"),
        pytest.param(
            BOOTSTRAP,
            replace(JOINING, token=replace(TOKEN, claim_name="claim-b")),
            "WrongNode",
            id="other's token",
        ),
        pytest.param(BOOTSTRAP, replace(JOINING, claim=None), "UnknownClaim", id="no claim"),
        pytest.param(
            BOOTSTRAP,
            replace(JOINING, claim=replace(CLAIM, uid="uid-b")),
            "UnknownClaim",
            id="claim made anew",
        ),
        pytest.param(
            BOOTSTRAP, replace(JOINING, claim=replace(CLAIM, deleting=True)), "ClaimDeleted", id="deleted claim"
        ),
        pytest.param(replace(NODE, username="system:node:claim-b"), JOINED, "WrongNode", id="another node"),
        pytest.param(replace(NODE, username="kubernetes-admin"), JOINED, "NotANode", id="a person"),
        pytest.param(
            replace(NODE, username="system:serviceaccount:default:x"), JOINED, "NotANode", id="a service account"
        ),
        pytest.param(replace(NODE, groups=frozenset({"system:authenticated"})), JOINED, "NotANode", id="no group"),
        pytest.param(NODE, Facts(), "UnknownClaim", id="a node without a claim"),
        pytest.param(replace(NODE, usages=SERVING_USAGES), JOINED, "WrongUsages", id="server usages"),
        pytest.param(
            replace(NODE, usages=CLIENT_USAGES | {"server auth"}), JOINED, "WrongUsages", id="client and server usages"
        ),
        pytest.param(replace(NODE, usages=frozenset({"client auth"})), JOINED, "WrongUsages", id="too few usages"),
        pytest.param(
            replace(NODE, usages=CLIENT_USAGES | {"cert sign"}), JOINED, "WrongUsages", id="usages of an authority"
        ),
        pytest.param(
            replace(NODE, signer="kubernetes.io/kube-apiserver-client"), JOINED, "UnknownSigner", id="another signer"
        ),
    ],
)
def test_a_client_certificate_is_only_for_the_claims_own_machine(
    requester: Requester, facts: Facts, reason: str
) -> None:
    decision = decide(requester, SUBJECT, facts)
    assert (decision.verdict, decision.reason) == ("deny", reason)


@pytest.mark.parametrize(
    ("requester", "content", "facts", "reason"),
    [
        pytest.param(SERVER, replace(SERVING, dns_names=("claim-b",)), JOINED, "WrongNode", id="another node's name"),
        pytest.param(
            SERVER, replace(SERVING, dns_names=("claim-a", "kubernetes.default")), JOINED, "WrongNode", id="a name more"
        ),
        pytest.param(
            SERVER, replace(SERVING, addresses=(ip_address("10.96.0.1"),)), JOINED, "WrongAddress", id="another address"
        ),
        pytest.param(
            SERVER,
            replace(SERVING, addresses=(NODE_IP, ip_address("127.0.0.1"))),
            JOINED,
            "WrongAddress",
            id="an address more",
        ),
        pytest.param(SERVER, SUBJECT, JOINED, "NoNames", id="neither name nor address"),
        pytest.param(SERVER, replace(SERVING, others=("email",)), JOINED, "UnexpectedContent", id="an email address"),
        pytest.param(SERVER, subject("system:node:claim-b", dns_names=("claim-b",)), JOINED, "WrongNode", id="CN"),
        pytest.param(
            replace(SERVER, username="system:bootstrap:abcdef"),
            SERVING,
            JOINED,
            "NotANode",
            id="with a token",
        ),
        pytest.param(replace(SERVER, usages=CLIENT_USAGES), SERVING, JOINED, "WrongUsages", id="client usages"),
        pytest.param(SERVER, SERVING, replace(JOINED, claim=None), "UnknownClaim", id="no claim"),
        pytest.param(
            SERVER, SERVING, Facts(claim=CLAIM, age=PATIENCE), "AddressesUnknown", id="addresses that never come"
        ),
    ],
)
def test_a_serving_certificate_is_only_for_the_nodes_own_names(
    requester: Requester, content: Content, facts: Facts, reason: str
) -> None:
    decision = decide(requester, content, facts)
    assert (decision.verdict, decision.reason) == ("deny", reason)


def test_a_serving_request_waits_for_the_machines_addresses() -> None:
    assert decide(SERVER, SERVING, Facts(claim=CLAIM, age=PATIENCE - 1)).verdict == "wait"


def make(
    *attributes: tuple[x509.ObjectIdentifier, str], names: tuple[x509.GeneralName, ...] = (), server: bool = False
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(*each) for each in attributes]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if server:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CN, O, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME  # noqa: E741 -- X.509's own


def test_a_request_is_read_as_it_was_made() -> None:
    names = (x509.DNSName("claim-a"), x509.IPAddress(NODE_IP), x509.IPAddress(ip_address("fd00::1")))
    content = Content.parse(make((O, "system:nodes"), (CN, "system:node:claim-a"), names=names))
    assert content == replace(SERVING, addresses=(NODE_IP, ip_address("fd00::1")))


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(make((CN, "a"), (OU, "b")), id="a unit"),
        pytest.param(make((CN, "a"), names=(x509.RFC822Name("a@b"),)), id="an email address"),
        pytest.param(make((CN, "a"), names=(x509.UniformResourceIdentifier("spiffe://a"),)), id="a URI"),
        pytest.param(make((CN, "a"), server=True), id="an extension"),
    ],
)
def test_what_no_node_asks_for_is_noticed(pem: bytes) -> None:
    assert len(Content.parse(pem).others) == 1


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        make((CN, "a"), names=(x509.IPAddress(ip_network("10.0.0.0/8")),)),
    ],
    ids=["nothing", "garbage", "a network"],
)
def test_what_is_no_request_is_an_error(pem: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the library's texts, of many kinds
        Content.parse(pem)


def test_a_request_that_is_not_signed_by_its_own_key_is_an_error() -> None:
    der = bytearray(x509.load_pem_x509_csr(make((CN, "system:node:aaa"))).public_bytes(serialization.Encoding.DER))
    position = der.index(b"system:node:aaa")
    der[position : position + 15] = b"system:node:bbb"
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ValueError, match="own key"):
        Content.parse(forged)
