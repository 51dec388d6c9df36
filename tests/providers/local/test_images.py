from __future__ import annotations

from pathlib import Path

import pytest

from autonodes.core.errors import EnvironmentFault
from joiner.oci import Image, write_archive
from providers.local.images import fingerprint


def archive(path: Path, content: bytes) -> Path:
    write_archive(Image(reference="autonodes.io/x:1", files={"/x": content}), path)
    return path


def test_the_same_content_has_the_same_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    one, two = archive(tmp_path / "one", b"a"), archive(tmp_path / "two", b"a")
    assert fingerprint([one]) == fingerprint([two])
    assert fingerprint([one]) != fingerprint([one, two])
    assert fingerprint([one]) != fingerprint([archive(two, b"b")])


def test_an_archive_in_another_format_counts_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"not a tar")
    before = fingerprint([path])
    path.write_bytes(b"not a tar either")
    assert fingerprint([path]) != before


def test_a_missing_archive_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="autonodes up"):
        fingerprint([tmp_path / "missing"])
