"""Reading kubeconfigs, and refusing those that can't be used with a text that says why."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autonodes.core.errors import ConfigError
from autonodes.kube.kubeconfig import load_kubeconfig


def key_pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    later = now + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, later)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return authority.sign(key, hashes.SHA256()).public_bytes(pem), private


CERTIFICATE, KEY = key_pair()


def inline(content: bytes) -> str:
    return base64.b64encode(content).decode()


def write(tmp_path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "nobody", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_inline_material_makes_a_tls_identity(tmp_path: Path) -> None:
    user = {"client-certificate-data": inline(CERTIFICATE), "client-key-data": inline(KEY)}
    path = write(tmp_path, user=user, cluster={"certificate-authority-data": inline(CERTIFICATE)})
    credentials = load_kubeconfig(path)
    assert credentials.server == "https://127.0.0.1:6443"
    assert credentials.namespace == "shop"
    assert credentials.tls is not None
    assert len(credentials.tls.get_ca_certs()) == 1, "only this authority is trusted"


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "crt").write_bytes(CERTIFICATE)
    (tmp_path / "key").write_bytes(KEY)
    user = {"client-certificate": "crt", "client-key": "key", "tokenFile": "token"}
    credentials = load_kubeconfig(write(tmp_path, user=user, cluster={"certificate-authority": "crt"}))
    assert credentials.token_file == tmp_path / "token"


def test_secrets_do_not_show_in_the_representation(tmp_path: Path) -> None:
    assert "s3cret" not in repr(load_kubeconfig(write(tmp_path, user={"token": "s3cret"})))


def test_another_context_can_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, user={"token": "x"})
    assert load_kubeconfig(path, context="nobody").token == ""
    with pytest.raises(ConfigError, match="main, nobody"):
        load_kubeconfig(path, context="missing")


@pytest.mark.parametrize(
    ("user", "cluster", "text"),
    [
        ({"exec": {"command": "aws"}}, {}, "plugins are not run"),
        ({"auth-provider": {"name": "gcp"}}, {}, "plugins are not run"),
        ({}, {"server": "127.0.0.1"}, "https://HOST:PORT"),
        ({}, {"insecure-skip-tls-verify": True}, "certificate-authority-data"),
        ({}, {"certificate-authority-data": "%%%"}, "not base64"),
        ({}, {"certificate-authority-data": inline(b"no PEM")}, "not a PEM"),
        ({}, {"certificate-authority": "missing"}, "can't be read"),
        ({"client-certificate-data": inline(CERTIFICATE), "client-key-data": inline(key_pair()[1])}, {}, "belong"),
    ],
)
def test_what_can_not_be_used_is_named(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        load_kubeconfig(write(tmp_path, user=user, cluster=cluster))


def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    with pytest.raises(ConfigError, match="readable"):
        load_kubeconfig(path)
    for text in ("- a\n- b\n", "a: [", "\x00\x01"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_kubeconfig(path)
