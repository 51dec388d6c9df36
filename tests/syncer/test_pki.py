"""What must hold of the certificates, whatever happened to the files before."""

from __future__ import annotations

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from autonodes.core.errors import EnvironmentFault
from syncer.pki import CA_LIFETIME, FRONT_PROXY_CA, LEAF_LIFETIME, RENEW_BEFORE, Leaf, Pki, ensure, expiries

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SERVER = Leaf(
    name="server", common_name="kube-apiserver", hosts=("localhost", "kubernetes.default", "10.96.0.1", "::1")
)
CLIENT = Leaf(name="client", common_name="admin", organizations=("system:masters",))
PROXY = Leaf(name="proxy", common_name="front-proxy-client", issuer=FRONT_PROXY_CA)
LEAVES = (SERVER, CLIENT, PROXY)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    ensure(made, LEAVES, now=NOW)
    return made


def load(pki: Pki, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())


def test_the_first_call_makes_everything_and_the_second_nothing(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    assert ensure(pki, LEAVES, now=NOW) == {"ca", "front-proxy-ca", "server", "client", "proxy"}
    before = {path: path.read_bytes() for path in pki.directory.iterdir()}
    assert ensure(pki, LEAVES, now=NOW + timedelta(days=300)) == set()
    assert {path: path.read_bytes() for path in pki.directory.iterdir()} == before


def test_private_files_are_for_their_owner_only(pki: Pki) -> None:
    assert stat.S_IMODE(pki.directory.stat().st_mode) == 0o700
    keys = list(pki.directory.glob("*.key"))
    assert len(keys) == 6
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_nothing_half_written_is_left_beside_them(pki: Pki) -> None:
    assert not [path for path in pki.directory.iterdir() if path.name.startswith(".")]


def test_keys_are_on_the_curve_p_256(pki: Pki) -> None:
    for path in pki.directory.glob("*.key"):
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)


def test_a_server_s_certificate_verifies_for_each_of_its_hosts(pki: Pki) -> None:
    verifier = PolicyBuilder().store(Store([load(pki, "ca")])).time(NOW)
    for host in SERVER.hosts:
        try:
            subject: x509.DNSName | x509.IPAddress = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            subject = x509.DNSName(host)
        assert verifier.build_server_verifier(subject).verify(load(pki, "server"), [])


def test_a_client_s_certificate_carries_its_user_and_groups_and_serves_nothing(pki: Pki) -> None:
    certificate = load(pki, "client")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert ([n.value for n in names], [g.value for g in groups]) == (["admin"], ["system:masters"])
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_front_proxy_s_client_is_unknown_to_the_cluster_s_ca(pki: Pki) -> None:
    load(pki, "proxy").verify_directly_issued_by(load(pki, FRONT_PROXY_CA))
    with pytest.raises(ValueError, match="Issuer"):
        load(pki, "proxy").verify_directly_issued_by(load(pki, "ca"))


def test_certificates_end(pki: Pki) -> None:
    ends = expiries(pki)
    assert ends["ca"] == NOW + CA_LIFETIME
    assert ends["server"] == ends["client"] == NOW + LEAF_LIFETIME


def test_a_leaf_never_outlives_its_ca(pki: Pki) -> None:
    late = NOW + CA_LIFETIME - timedelta(days=40)
    ensure(pki, LEAVES, now=late)
    assert expiries(pki)["server"] == NOW + CA_LIFETIME


def test_a_leaf_is_renewed_in_its_last_thirty_days_and_not_before(pki: Pki) -> None:
    end = NOW + LEAF_LIFETIME
    assert ensure(pki, LEAVES, now=end - RENEW_BEFORE - timedelta(seconds=1)) == set()
    assert ensure(pki, LEAVES, now=end - RENEW_BEFORE) == {"server", "client", "proxy"}
    assert expiries(pki)["server"] == end - RENEW_BEFORE + LEAF_LIFETIME


@pytest.mark.parametrize(
    "changed",
    [
        Leaf(name="server", common_name="kube-apiserver", hosts=(*SERVER.hosts, "192.0.2.1")),
        Leaf(name="server", common_name="other", hosts=SERVER.hosts),
        Leaf(name="server", common_name="kube-apiserver", hosts=SERVER.hosts, organizations=("group",)),
    ],
)
def test_a_leaf_that_should_say_something_else_is_issued_anew(pki: Pki, changed: Leaf) -> None:
    assert ensure(pki, [changed, CLIENT, PROXY], now=NOW) == {"server"}
    assert ensure(pki, [changed, CLIENT, PROXY], now=NOW) == set()


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nnonsense"])
def test_a_damaged_leaf_is_issued_anew(pki: Pki, name: str, content: bytes | None) -> None:
    path = pki.directory / name
    path.unlink() if content is None else path.write_bytes(content)
    assert ensure(pki, LEAVES, now=NOW) == {"server"}
    assert load(pki, "server").public_key() == _key(pki, "server").public_key()


def test_a_leaf_whose_key_is_another_s_is_issued_anew(pki: Pki) -> None:
    pki.key("server").write_bytes(pki.key("client").read_bytes())
    assert ensure(pki, LEAVES, now=NOW) == {"server"}


def test_an_interrupted_first_call_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed between a CA's key and its certificate, or between the service account's two keys."""
    pki = Pki(tmp_path / "pki")
    ensure(pki, LEAVES, now=NOW)
    public_key = pki.service_account_public_key.read_bytes()
    pki.certificate("ca").unlink()
    pki.service_account_public_key.unlink()
    assert ensure(pki, LEAVES, now=NOW) == {"ca"}
    assert pki.service_account_public_key.read_bytes() == public_key
    load(pki, "server").verify_directly_issued_by(load(pki, "ca"))


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"])
def test_what_cannot_be_made_again_is_refused_when_damaged(pki: Pki, name: str) -> None:
    (pki.directory / name).write_bytes(b"nonsense")
    with pytest.raises(EnvironmentFault, match="damaged or incomplete") as raised:
        ensure(pki, LEAVES, now=NOW)
    assert "backup" in raised.value.remedy


def test_a_lost_ca_key_is_refused(pki: Pki) -> None:
    pki.key("ca").unlink()
    with pytest.raises(EnvironmentFault, match=r"ca\.key"):
        ensure(pki, LEAVES, now=NOW)


def _key(pki: Pki, name: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pki.key(name).read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
