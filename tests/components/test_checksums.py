"""Every form in which publishers give checksums is read, and nothing else."""

import json

import pytest

from autonodes.components.checksums import published_sha256
from autonodes.components.errors import DownloadFailed

DIGEST = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        f"{DIGEST}\n",
        DIGEST.upper(),
        f"{DIGEST}  tool.tgz\n",
        f"{DIGEST} *tool.tgz\n",
        f"{DIGEST}  ./release/tool.tgz\n",
        f"{OTHER}  tool.tgz.asc\n{DIGEST}  tool.tgz\n",
        f"-----BEGIN PGP SIGNED MESSAGE-----\n\n{DIGEST} *tool.tgz\n",
        json.dumps({"assets": [{"name": "a"}, {"name": "tool.tgz", "digest": f"sha256:{DIGEST}"}]}),
    ],
)
def test_a_published_digest_is_found(text: str) -> None:
    assert published_sha256(text, "tool.tgz", "https://example.org") == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        DIGEST[:-1],
        f"{DIGEST}  another.tgz\n",
        f"{DIGEST}  not-tool.tgz\n",
        json.dumps({"assets": [{"name": "tool.tgz", "digest": None}]}),
        json.dumps({"assets": [{"name": "tool.tgz", "digest": f"sha512:{DIGEST}"}]}),
        json.dumps({"message": "API rate limit exceeded"}),
        "{not json",
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(DownloadFailed, match=r"https://example\.org has no SHA-256 of tool\.tgz"):
        published_sha256(text, "tool.tgz", "https://example.org")
