"""Image archives: what containerd's importer reads, the same bytes from the same input."""

from __future__ import annotations

import hashlib
import json
import os
import py_compile
import subprocess
import sys
import tarfile
from pathlib import Path

from joiner.oci import Image, write_archive


def image(tmp_path: Path) -> Image:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o750)
    return Image(
        reference="autonodes.io/thing:1.2",
        files={"/bin/program": program, "/etc/passwd": b"root:x:0:0::/:/bin/sh\n"},
        links={"/bin/sh": "program"},
        entrypoint=("/bin/program",),
        env={"A": "b"},
    )


def blob(tar: tarfile.TarFile, digest: str) -> bytes:
    content = tar.extractfile("blobs/sha256/" + digest.removeprefix("sha256:"))
    assert content is not None
    return content.read()


def test_every_digest_in_the_archive_is_that_of_its_blob(tmp_path: Path) -> None:
    out = tmp_path / "image.tar"
    write_archive(image(tmp_path), out)
    with tarfile.open(out) as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/")]
        assert len(blobs) == 3
        for name in blobs:
            assert hashlib.sha256(blob(tar, name.rpartition("/")[2])).hexdigest() == name.rpartition("/")[2]


def test_the_index_names_the_image_and_its_config_says_how_to_start_it(tmp_path: Path) -> None:
    out = tmp_path / "image.tar"
    write_archive(image(tmp_path), out)
    with tarfile.open(out) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = json.loads(blob(tar, index["manifests"][0]["digest"]))
        config = json.loads(blob(tar, manifest["config"]["digest"]))
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "autonodes.io/thing:1.2"
    assert config["config"]["Entrypoint"] == ["/bin/program"]
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]


def test_the_layer_keeps_programs_executable_and_links_links(tmp_path: Path) -> None:
    out = tmp_path / "image.tar"
    write_archive(image(tmp_path), out)
    with tarfile.open(out) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = json.loads(blob(tar, index["manifests"][0]["digest"]))
        (tmp_path / "layer").write_bytes(blob(tar, manifest["layers"][0]["digest"]))
    with tarfile.open(tmp_path / "layer") as layer:
        assert layer.getmember("bin/program").mode == 0o755
        assert layer.getmember("etc/passwd").mode == 0o644
        assert layer.getmember("bin/sh").linkname == "program"
        assert layer.getmember("tmp").mode == 0o1777


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "1.tar", tmp_path / "2.tar"
    write_archive(image(tmp_path), one)
    write_archive(image(tmp_path), two)
    assert one.read_bytes() == two.read_bytes()
    assert list(tmp_path.glob(".*")) == []


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    before = image(tmp_path).fingerprint()
    (tmp_path / "program").write_bytes(b"other")
    assert Image(reference="x", files={"/p": tmp_path / "program"}).fingerprint() != before


def test_python_need_not_compile_again_what_is_in_the_image_compiled(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    os.utime(source, (1_600_000_000, 1_600_000_000))
    compiled = Path(py_compile.compile(str(source), doraise=True))
    files = {"/app/module.py": source, f"/app/__pycache__/{compiled.name}": compiled}
    out = tmp_path / "image.tar"
    write_archive(Image(reference="autonodes.io/python:1", files=files), out)
    with tarfile.open(out) as tar:
        (layer,) = (member for member in tar.getmembers() if member.size > 1024 and member.name.startswith("blobs/"))
        (tmp_path / "root").mkdir()
        content = blob(tar, layer.name.rpartition("/")[2])
        subprocess.run(["tar", "--extract", f"--directory={tmp_path}/root"], input=content, check=True)
    command = [sys.executable, "-v", "-c", "import module"]
    told = subprocess.run(command, cwd=tmp_path / "root/app", capture_output=True, text=True, check=True).stderr
    assert f"{compiled.name} matches " in told
