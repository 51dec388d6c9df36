"""Certificates and keys of one cluster.

Three things are made once and kept: the cluster CA, the front-proxy CA and the service-account key pair. Everything
else is a leaf that can be issued again at any time, and is when it is missing, damaged, names other hosts than it
should, was signed by another CA or has less than `RENEW_BEFORE` left. So `ensure` may be called on every start, and
an interrupted call is mended by the next one.

The order of writing carries the safety: a private key is written before its certificate. A CA's key without its
certificate gets a new certificate, which verifies what the old one did; a CA's certificate without its key means that
somebody lost the key, and that is refused rather than papered over with a CA that no node would trust.

Keys are ECDSA P-256; private files are 0600 in a 0700 directory. A CA is not rotated: after `CA_LIFETIME` the cluster
needs a new one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from autonodes.core.errors import EnvironmentFault
from syncer.files import make_private_directory, write_atomically, write_durably

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(minutes=5)
"""A certificate is valid from a little before its making, for machines whose clock is behind."""

CLUSTER_CA = "ca"
FRONT_PROXY_CA = "front-proxy-ca"
SERVICE_ACCOUNT = "sa"


class Write(Protocol):
    """`write_atomically` for what is made again when it is damaged, `write_durably` for what can't be."""

    def __call__(self, path: Path, content: bytes, *, mode: int = ...) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate that should exist.

    :param name: of its files, ``NAME.crt`` and ``NAME.key``
    :param issuer: the CA that signs it
    :param organizations: Kubernetes reads them as groups
    :param hosts: DNS names and IP addresses that it serves; none makes it a client's certificate
    """

    name: str
    common_name: str
    issuer: str = CLUSTER_CA
    organizations: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pki:
    """Where the files are."""

    directory: Path

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    @property
    def service_account_public_key(self) -> Path:
        return self.directory / f"{SERVICE_ACCOUNT}.pub"


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure(pki: Pki, leaves: Iterable[Leaf], *, now: datetime) -> frozenset[str]:
    """Make what is missing, renew what runs out.

    :param now: with a time zone
    :returns: names of the certificates that were issued by this call
    :raises EnvironmentFault: a CA or the service-account key is damaged or half there
    """
    make_private_directory(pki.directory)
    issued = {name for name in (CLUSTER_CA, FRONT_PROXY_CA) if _ensure_authority(pki, name, now=now)}
    _ensure_service_account_keys(pki)
    authorities = {name: _load_authority(pki, name) for name in (CLUSTER_CA, FRONT_PROXY_CA)}
    for leaf in leaves:
        authority = authorities[leaf.issuer]
        if not _is_current(pki, leaf, authority, now=now):
            _issue(pki, leaf, authority, now=now)
            issued.add(leaf.name)
    return frozenset(issued)


def expiries(pki: Pki) -> dict[str, datetime]:
    """When each certificate ends, by name."""
    return {
        path.stem: x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        for path in sorted(pki.directory.glob("*.crt"))
    }


def _ensure_authority(pki: Pki, name: str, *, now: datetime) -> bool:
    if pki.certificate(name).exists():
        return False
    key = _read_key(pki.key(name)) or ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"autonodes-{name}", ())
    builder = _builder(subject, subject, key.public_key(), now=now, until=now + CA_LIFETIME)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _store(pki, name, certificate, key, write=write_durably)
    return True


def _ensure_service_account_keys(pki: Pki) -> None:
    if pki.service_account_public_key.exists():
        if not _matches(_read_key(pki.key(SERVICE_ACCOUNT)), pki.service_account_public_key.read_bytes()):
            raise _damaged(pki, SERVICE_ACCOUNT)
        return
    key = _read_key(pki.key(SERVICE_ACCOUNT)) or ec.generate_private_key(ec.SECP256R1())
    write_durably(pki.key(SERVICE_ACCOUNT), _private_pem(key))
    write_durably(pki.service_account_public_key, _public_pem(key), mode=0o644)


def _load_authority(pki: Pki, name: str) -> _Authority:
    key = _read_key(pki.key(name))
    certificate = _read_certificate(pki.certificate(name))
    if key is None or certificate is None or key.public_key() != certificate.public_key():
        raise _damaged(pki, name)
    return _Authority(certificate, key)


def _damaged(pki: Pki, name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the key pair {pki.key(name)} is damaged or incomplete",
        "restore it from a backup; a new one would be trusted by no node. To give the cluster up, run `autonodes down`",
    )


def _is_current(pki: Pki, leaf: Leaf, authority: _Authority, *, now: datetime) -> bool:
    key, certificate = _read_key(pki.key(leaf.name)), _read_certificate(pki.certificate(leaf.name))
    return (
        key is not None
        and certificate is not None
        and key.public_key() == certificate.public_key()
        and certificate.subject == _name(leaf.common_name, leaf.organizations)
        and certificate.not_valid_after_utc - now > RENEW_BEFORE
        and _hosts_of(certificate) == {str(_general_name(host).value) for host in leaf.hosts}
        and _is_signed_by(certificate, authority)
    )


def _is_signed_by(certificate: x509.Certificate, authority: _Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError):
        return False
    return True


def _issue(pki: Pki, leaf: Leaf, authority: _Authority, *, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + LEAF_LIFETIME, authority.certificate.not_valid_after_utc)
    subject = _name(leaf.common_name, leaf.organizations)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if leaf.hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key(), now=now, until=until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    if leaf.hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in leaf.hosts])
        builder = builder.add_extension(names, critical=False)
    _store(pki, leaf.name, builder.sign(authority.key, hashes.SHA256()), key, write=write_atomically)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(authority: _Authority) -> x509.AuthorityKeyIdentifier:
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(common_name: str, organizations: tuple[str, ...]) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _matches(key: ec.EllipticCurvePrivateKey | None, public_pem: bytes) -> bool:
    return key is not None and _public_pem(key) == public_pem


def _store(
    pki: Pki, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, write: Write
) -> None:
    write(pki.key(name), _private_pem(key))  # strictly before the certificate, see above
    write(pki.certificate(name), certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
