"""Which certificate a node may have: a pure function of the request, and of what is known of its claim.

The rules, of which the first that is broken is the reason of the denial:

- A **client** certificate (``kubernetes.io/kube-apiserver-client-kubelet``) names the node and nothing else: CN
  ``system:node:NAME``, O ``system:nodes``, no alternative names, usages of a client. The first one is asked for with a
  bootstrap token, and only for the name of the claim that the token was made for, while that claim lives. Later ones
  are asked for by the node itself.
- A **serving** certificate (``kubernetes.io/kubelet-serving``) is asked for by the node itself, with the same subject;
  its DNS names are the node's name, its IP addresses those of the node's machine, its usages a server's.

Nobody else gets either. A claim that is being deleted gets no first certificate; its node may still renew what it has,
because its drain can last for days, and a node that loses its certificate is a dead one.

What can't be decided yet (the machine's addresses are not known) waits, but not for ever.
Rules of the signers: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from joiner.tokens import GROUP

CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER: Final = "kubernetes.io/kubelet-serving"
NODE_PREFIX: Final = "system:node:"
BOOTSTRAP_PREFIX: Final = "system:bootstrap:"
NODES_GROUP: Final = "system:nodes"
PATIENCE: Final = 60.0
"""Seconds that a serving request may wait for the machine's addresses. The kubelet reports them within ten."""

_OPTIONAL_USAGE: Final = "key encipherment"  # asked for with RSA keys, pointless with ECDSA
_USAGES: Final = {
    CLIENT_SIGNER: frozenset({"digital signature", "client auth"}),
    SERVING_SIGNER: frozenset({"digital signature", "server auth"}),
}

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LONGEST_NAME: Final = 253
"""A DNS subdomain (RFC 1123), as Kubernetes wants names of nodes."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is in the PKCS#10 request.

    :param others: everything in it that no node may ask for: further subject attributes, other kinds of alternative
        names, extensions
    """

    common_names: tuple[str, ...]
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def parse(cls, pem: bytes) -> Content:
        """:raises ValueError: not a PKCS#10 request, or not signed with its own key"""
        request = x509.load_pem_x509_csr(pem)
        if not request.is_signature_valid:
            raise ValueError("its signature is not by its own key")
        names = _alternative_names(request)
        return cls(
            common_names=_attributes(request, NameOID.COMMON_NAME),
            organizations=_attributes(request, NameOID.ORGANIZATION_NAME),
            dns_names=tuple(name.value for name in names if isinstance(name, x509.DNSName)),
            addresses=tuple(_address(name) for name in names if isinstance(name, x509.IPAddress)),
            others=tuple(_others(request, names)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks, as the API server has authenticated them, and for what."""

    username: str
    groups: frozenset[str]
    signer: str
    usages: frozenset[str]

    @property
    def token_id(self) -> str:
        """Of the bootstrap token, "" for anybody else."""
        is_bootstrap = self.username.startswith(BOOTSTRAP_PREFIX)
        return self.username.removeprefix(BOOTSTRAP_PREFIX) if is_bootstrap else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """The claim that a bootstrap token was made for."""

    claim_name: str
    claim_uid: str
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFacts:
    """The NodeClaim as the API server has it now."""

    name: str
    uid: str
    deleting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was looked up; None is "there is no such thing", and for addresses "not known yet".

    :param token: of the requester
    :param claim: of the name that is asked for
    :param age: seconds since the request was made
    """

    token: TokenFacts | None = None
    claim: ClaimFacts | None = None
    addresses: frozenset[Address] | None = None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """:param reason: CamelCase, for the condition"""

    verdict: Literal["approve", "deny", "wait"]
    reason: str
    message: str


def node_name(content: Content) -> str:
    """The node's name in the subject, "" if there is none or it can't be one."""
    (first, *_) = (*content.common_names, "")
    name = first.removeprefix(NODE_PREFIX) if first.startswith(NODE_PREFIX) else ""
    return name if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) else ""


def decide(requester: Requester, content: Content, facts: Facts) -> Decision:
    """Approve, deny with a reason, or wait."""
    if requester.signer not in _USAGES:
        return Decision("deny", "UnknownSigner", f"{requester.signer} is not a signer for nodes")
    rules = _SERVING_RULES if requester.signer == SERVING_SIGNER else _CLIENT_RULES
    for rule in (*_COMMON_RULES, *rules):
        if (broken := rule(requester, content, facts)) is not None:
            return broken
    kind = "serving" if requester.signer == SERVING_SIGNER else "client"
    return Decision("approve", "NodeOfClaim", f"{kind} certificate of node {node_name(content)}, which has a claim")


def _deny(reason: str, message: str) -> Decision:
    return Decision("deny", reason, message)


def _subject(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    if len(content.common_names) != 1 or not node_name(content):
        given = ", ".join(content.common_names) or "none"
        return _deny("WrongCommonName", f"the common name must be {NODE_PREFIX}NAME, and it is {given}")
    if content.organizations != (NODES_GROUP,):
        given = ", ".join(content.organizations) or "none"
        return _deny("WrongOrganization", f"the organization must be {NODES_GROUP} alone, and it is {given}")
    if content.others:
        return _deny("UnexpectedContent", f"a node has no use for {', '.join(content.others)}")
    return None


def _usages(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    allowed = _USAGES[requester.signer]
    if requester.usages - {_OPTIONAL_USAGE} != allowed:
        given = ", ".join(sorted(requester.usages)) or "none"
        return _deny("WrongUsages", f"usages must be {', '.join(sorted(allowed))}, and they are {given}")
    return None


def _no_alternative_names(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    names = [*content.dns_names, *map(str, content.addresses)]
    if names:
        return _deny("UnexpectedNames", f"a client certificate has no alternative names, here: {', '.join(names)}")
    return None


def _own_token_or_own_name(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    return (_own_token if requester.token_id else _own_name)(requester, content, facts)


def _own_token(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    name, token, claim = node_name(content), facts.token, facts.claim
    if token is None or GROUP not in requester.groups:
        return _deny("UnknownToken", f"bootstrap token {requester.token_id} is not one of a claim")
    if token.expired:
        return _deny("TokenExpired", f"the bootstrap token of claim {token.claim_name} has expired")
    if name != token.claim_name:
        return _deny("WrongNode", f"the token was made for node {token.claim_name}, not for {name}")
    if claim is None or claim.name != name or claim.uid != token.claim_uid:
        return _deny("UnknownClaim", f"the claim {token.claim_name} that the token was made for is gone")
    if claim.deleting:
        return _deny("ClaimDeleted", f"claim {name} is being deleted")
    return None


def _own_name(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    name = node_name(content)
    if not requester.username.startswith(NODE_PREFIX) or NODES_GROUP not in requester.groups:
        return _deny("NotANode", f"{requester.username} is not a node")
    if requester.username != NODE_PREFIX + name:
        return _deny("WrongNode", f"{requester.username} asks in the name of node {name}")
    if facts.claim is None or facts.claim.name != name:
        return _deny("UnknownClaim", f"there is no claim {name}")
    return None


def _serving_names(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    name = node_name(content)
    if not content.dns_names and not content.addresses:
        return _deny("NoNames", "a serving certificate needs a name or an address")
    foreign = [each for each in content.dns_names if each != name]
    if foreign:
        return _deny("WrongNode", f"the node's only DNS name is {name}, here also: {', '.join(foreign)}")
    return None


def _serving_addresses(requester: Requester, content: Content, facts: Facts) -> Decision | None:
    if not content.addresses:
        return None
    if facts.addresses is None:
        verdict: Literal["wait", "deny"] = "wait" if facts.age < PATIENCE else "deny"
        return Decision(verdict, "AddressesUnknown", f"no addresses are known of node {node_name(content)}")
    foreign = [str(each) for each in content.addresses if each not in facts.addresses]
    if foreign:
        return _deny("WrongAddress", f"not an address of node {node_name(content)}: {', '.join(foreign)}")
    return None


_Rule = Callable[[Requester, Content, Facts], Decision | None]
_COMMON_RULES: Final[tuple[_Rule, ...]] = (_subject, _usages)
_CLIENT_RULES: Final[tuple[_Rule, ...]] = (_no_alternative_names, _own_token_or_own_name)
_SERVING_RULES: Final[tuple[_Rule, ...]] = (_own_name, _serving_names, _serving_addresses)


def _attributes(request: x509.CertificateSigningRequest, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(attribute.value) for attribute in request.subject.get_attributes_for_oid(oid))


def _alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value)


def _address(name: x509.IPAddress) -> Address:
    if not isinstance(name.value, IPv4Address | IPv6Address):
        raise ValueError(f"{name.value} is a network")
    return name.value


def _others(request: x509.CertificateSigningRequest, names: list[x509.GeneralName]) -> Iterator[str]:
    for attribute in request.subject:
        if attribute.oid not in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
            yield f"subject attribute {attribute.rfc4514_attribute_name}"
    for extension in request.extensions:
        if extension.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            yield f"extension {extension.oid.dotted_string}"
    for name in names:
        if not isinstance(name, x509.DNSName | x509.IPAddress):
            yield f"alternative name of type {type(name).__name__}"
