"""Reading what publishers put beside a release to check it by."""

import json
import re

from autonodes.components.errors import DownloadFailed

_HEX = re.compile(r"[0-9a-fA-F]{64}")


def published_sha256(text: str, filename: str, url: str) -> str:
    """The SHA-256 of ``filename`` in lower-case hexadecimal.

    :param text: a bare digest, lines of ``sha256sum`` (``digest  name`` or ``digest *name``), or a release as GitHub's
        REST API describes it (``assets[].digest``)
    :param url: where ``text`` comes from, for the message
    :raises DownloadFailed: it names no such file
    """
    digest = _of_github(text, filename) if text.lstrip().startswith("{") else _of_lines(text, filename)
    if digest is None:
        raise DownloadFailed(f"{url} has no SHA-256 of {filename}", "check the version in versions.toml")
    return digest.lower()


def _of_lines(text: str, filename: str) -> str | None:
    if _HEX.fullmatch(text.strip()):
        return text.strip()
    for line in text.splitlines():
        digest, _, name = line.strip().partition(" ")
        if _HEX.fullmatch(digest) and name.strip().lstrip("*").rsplit("/", 1)[-1] == filename:
            return digest
    return None


def _of_github(text: str, filename: str) -> str | None:
    try:
        assets = {asset["name"]: asset.get("digest") or "" for asset in json.loads(text)["assets"]}
    except (ValueError, KeyError, TypeError):
        return None
    kind, _, digest = assets.get(filename, "").partition(":")
    return digest if kind == "sha256" and _HEX.fullmatch(digest) else None
