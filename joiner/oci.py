"""Writes OCI image archives (image-spec v1.1, one uncompressed layer), as ``ctr images import`` reads them.

Archives are reproducible: no owners, entries in order, and no times but those of the files that are copied; so equal
content has an equal digest and a node keeps one copy of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_FORMAT = "2"
"""Change it when the archive of an equal image changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image to be made.

    :param reference: full name with tag, ``autonodes.io/coredns:1.15.0``
    :param files: path in the image → file on this machine (its mode's executable bits are kept), or content
    :param links: symbolic links, path in the image → target
    """

    reference: str
    files: Mapping[str, Path | bytes]
    links: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"

    def fingerprint(self) -> str:
        """Changes when any input does: sizes and times of the files, the content of everything else."""
        digest = hashlib.sha256(
            repr((_FORMAT, self.reference, self.entrypoint, self.command, sorted(self.env.items()))).encode()
        )
        digest.update(repr(sorted(self.links.items())).encode())
        for path, source in sorted(self.files.items()):
            if isinstance(source, Path):
                status = source.stat()
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
            else:
                digest.update(path.encode() + b"\0" + source)
        return digest.hexdigest()


def write_archive(image: Image, out: Path) -> None:
    """Write ``image`` to ``out``: aside first, then renamed, so that a half-written archive never has its name."""
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    layer_path = out.with_name(f".{out.name}.{os.getpid()}.layer")
    try:
        _write_layer(image, layer_path)
        _write_layout(image, layer_path, aside)
        aside.rename(out)
    finally:
        layer_path.unlink(missing_ok=True)
        aside.unlink(missing_ok=True)


def _write_layer(image: Image, path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for directory in _parents([*image.files, *image.links]):
            tar.addfile(_entry(directory, mode=0o1777 if directory == "tmp" else 0o755, kind=tarfile.DIRTYPE))
        for name, source in sorted(image.files.items()):
            if isinstance(source, Path):
                status = source.stat()
                entry = _entry(name, mode=0o755 if status.st_mode & 0o111 else 0o644, size=status.st_size)
                entry.mtime = int(status.st_mtime)  # Python compiles anew what is not as old as its .pyc says
                with source.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                entry = _entry(name, mode=0o755 if source.startswith(b"#!") else 0o644, size=len(source))
                tar.addfile(entry, io.BytesIO(source))
        for name, target in sorted(image.links.items()):
            link = _entry(name, mode=0o777, kind=tarfile.SYMTYPE)
            link.linkname = target
            tar.addfile(link)


def _parents(names: Iterable[str]) -> list[str]:
    found = {"tmp"}
    for name in names:
        parent = Path(name.lstrip("/")).parent
        while str(parent) not in ("", "."):
            found.add(str(parent))
            parent = parent.parent
    return sorted(found)


def _entry(name: str, *, mode: int, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.mode, entry.size, entry.type = mode, size, kind
    return entry


def _write_layout(image: Image, layer_path: Path, out: Path) -> None:
    with layer_path.open("rb") as layer:
        layer_digest = hashlib.file_digest(layer, "sha256").hexdigest()
    config = _json(
        {
            "architecture": image.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": list(image.entrypoint),
                "Cmd": list(image.command),
                "Env": [f"{key}={value}" for key, value in sorted(image.env.items())],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [
                {"mediaType": _LAYER, "digest": f"sha256:{layer_digest}", "size": layer_path.stat().st_size},
            ],
        }
    )
    names = {
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
    }
    index = _json(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [_descriptor(_MANIFEST, manifest) | {"annotations": names}],
        }
    )
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("oci-layout", _json({"imageLayoutVersion": "1.0.0"})), ("index.json", index)):
            tar.addfile(_entry(name, mode=0o644, size=len(content)), io.BytesIO(content))
        for content in (config, manifest):
            name = f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
            tar.addfile(_entry(name, mode=0o644, size=len(content)), io.BytesIO(content))
        with layer_path.open("rb") as layer:
            tar.addfile(_entry(f"blobs/sha256/{layer_digest}", mode=0o644, size=layer_path.stat().st_size), layer)


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
