"""Reading a kubeconfig: where the API server is and how to prove who we are.

The official client's reader costs 22 MB of private memory for its generated models, so this module reads what a
kubeconfig of a cluster or an in-cluster service account holds: certificate authority, client certificate and key,
token, token file. Exec and auth-provider plugins are refused by name. Keys never touch the disk: the inline ones go to
OpenSSL through an anonymous memory file.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autonodes.core.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """One server and one identity.

    :param server: ``https://host:port``, without a slash at the end
    :param tls: None for a plain-HTTP server (a local proxy)
    :param token_file: read again by the client, as bound tokens rotate
    """

    server: str
    tls: ssl.SSLContext | None = None
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    namespace: str = "default"


def load_kubeconfig(path: Path, *, context: str = "") -> Credentials:
    """Credentials of the current (or the named) context.

    :raises ConfigError: unreadable, incomplete, or it needs a plugin
    """
    return _Reader(path, _read_yaml(path)).credentials(context)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_text(), Loader=_LOADER)  # noqa: S506 -- the safe loader, in C
    except OSError as error:
        raise ConfigError(str(path), error.strerror, "give the path of a readable kubeconfig") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "not YAML", "give the path of a kubeconfig") from error
    if not isinstance(document, dict):
        raise ConfigError(str(path), type(document).__name__, "a kubeconfig is a mapping")
    return document


class _Reader:
    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self._path, self._document = path, document

    def credentials(self, context_name: str) -> Credentials:
        name = context_name or self._document.get("current-context") or ""
        context = self._named("contexts", "context", name)
        cluster = self._named("clusters", "cluster", context.get("cluster", ""))
        user = self._named("users", "user", context["user"]) if context.get("user") else {}
        self._refuse_plugins(user)
        server = str(cluster.get("server", "")).rstrip("/")
        if not server.startswith(("https://", "http://")):
            raise ConfigError(f"{self._path}: clusters[].cluster.server", server, "write https://HOST:PORT")
        token_file = user.get("tokenFile")
        return Credentials(
            server=server,
            tls=self._tls(cluster, user) if server.startswith("https://") else None,
            token=str(user.get("token") or ""),
            token_file=self._path.parent / token_file if token_file else None,
            namespace=context.get("namespace") or "default",
        )

    def _named(self, section: str, key: str, name: str) -> Mapping[str, Any]:
        entries = {
            entry.get("name"): entry.get(key) for entry in self._document.get(section) or () if isinstance(entry, dict)
        }
        found = entries.get(name)
        if not isinstance(found, dict):
            known = ", ".join(sorted(filter(None, entries))) or "none"
            raise ConfigError(f"{self._path}: {section}", name, f"no such entry; there are: {known}")
        return found

    def _refuse_plugins(self, user: Mapping[str, Any]) -> None:
        for plugin in ("exec", "auth-provider"):
            if plugin in user:
                remedy = "credential plugins are not run; use a client certificate, token or tokenFile"
                raise ConfigError(f"{self._path}: users[].user", plugin, remedy)

    def _tls(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
        authority = self._material(cluster, "certificate-authority")
        try:
            tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(f"{self._path}: certificate-authority", "…", "not a PEM certificate") from error
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if cluster.get("insecure-skip-tls-verify"):
            remedy = "give certificate-authority-data instead: nodes and purchases hang on this connection"
            raise ConfigError(f"{self._path}: insecure-skip-tls-verify", True, remedy)
        certificate = self._material(user, "client-certificate")
        key = self._material(user, "client-key")
        if certificate and key:
            self._load_client_certificate(tls, certificate, key)
        return tls

    def _load_client_certificate(self, tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
        try:
            with _memory_file(certificate) as certificate_path, _memory_file(key) as key_path:
                tls.load_cert_chain(certificate_path, key_path)
        except ssl.SSLError as error:
            remedy = "client certificate and key don't belong together, or one of them is not PEM"
            raise ConfigError(f"{self._path}: client-certificate", "…", remedy) from error

    def _material(self, section: Mapping[str, Any], key: str) -> bytes | None:
        inline, file = section.get(f"{key}-data"), section.get(key)
        try:
            if inline:
                return base64.b64decode(inline, validate=True)
            return (self._path.parent / file).read_bytes() if file else None
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{self._path}: {key}-data", "…", "not base64") from error
        except OSError as error:
            raise ConfigError(f"{self._path}: {key}", file, f"can't be read: {error.strerror}") from error


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
