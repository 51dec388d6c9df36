"""Only what its publisher published gets into the cache, whatever the way there does to it."""

import os
from pathlib import Path

import pytest

from autonodes.components import Components, ComponentsMissing, Origin, resolve
from autonodes.components.connections import Connections
from autonodes.components.download import download
from autonodes.components.errors import DownloadFailed
from autonodes.components.pins import Pin, pins
from autonodes.components.platforms import current_platform
from autonodes.components.reporting import Silent
from component_releases import Mirror, RecordedProgress, archive, script


class Fetcher:
    """Resolves from the mirror alone."""

    def __init__(self, mirror: Mirror, cache: Path, no_checkout: Path, progress: RecordedProgress) -> None:
        self.mirror, self.cache, self.no_checkout, self.progress = mirror, cache, no_checkout, progress

    def __call__(self, *names: str) -> Components:
        return resolve(
            names,
            given=(),
            cache=self.cache,
            mirror=self.mirror.url,
            source_tree=self.no_checkout,
            progress=self.progress,
        )

    def failure(self, name: str) -> str:
        with pytest.raises(ComponentsMissing) as raised:
            self(name)
        (tried,) = raised.value.attempts.values()
        return dict(tried)[Origin.DOWNLOAD]

    def cached(self) -> list[Path]:
        return [path for path in (self.cache / "components").rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.fixture
def fetch(mirror: Mirror, cache: Path, no_checkout: Path, progress: RecordedProgress) -> Fetcher:
    return Fetcher(mirror, cache, no_checkout, progress)


def url(pin: Pin) -> str:
    return pin.files(current_platform().arch)[0].url


def test_a_release_is_downloaded_once_and_cached_for_the_next_time(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    fetched = fetch("kine")["kine"]
    assert (fetched.origin, fetched.obtained_by) == (Origin.DOWNLOAD, Origin.DOWNLOAD)
    assert fetched.path.read_bytes() == script(kine.version)
    assert os.access(fetched.path, os.X_OK)
    asked = len(mirror.requests)
    again = fetch("kine")["kine"]
    assert (again.origin, again.obtained_by, again.path) == (Origin.CACHE, Origin.DOWNLOAD, fetched.path)
    assert len(mirror.requests) == asked


@pytest.mark.parametrize("pin", [p for p in pins().values() if p.release], ids=str)
def test_every_publishers_form_of_release_is_understood(fetch: Fetcher, mirror: Mirror, pin: Pin) -> None:
    mirror.publish(pin)
    components = fetch(pin.name)
    assert list(components) == list(pin.binaries)
    assert {binary.path.read_bytes() for binary in components.values()} == {script(pin.version)}
    assert {path.name for path in fetch.cached()} == {*pin.binaries, "manifest.json"}


def test_everything_with_a_release_is_fetched_in_one_run(fetch: Fetcher, mirror: Mirror) -> None:
    released = [pin for pin in pins().values() if pin.release]
    for pin in released:
        mirror.publish(pin)
    assert len(fetch(*(pin.name for pin in released))) == sum(len(pin.binaries) for pin in released)


def test_a_wrong_checksum_is_refused_with_both_digests(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    mirror.publish_checksum(kine.files(current_platform().arch)[0], "a" * 64)
    reason = fetch.failure("kine")
    assert "a" * 64 in reason
    assert "was altered or is damaged" in reason
    assert fetch.cached() == []
    assert mirror.requests.count(f"/{url(kine).removeprefix('https://')}") == 1


def test_a_transfer_that_breaks_off_is_tried_again(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    mirror.misbehave(url(kine), "truncate")
    assert fetch("kine")["kine"].path.read_bytes() == script(kine.version)
    assert any("broke off (1 of 2 tries)" in note for note in fetch.progress.notes)


def test_a_transfer_that_always_breaks_off_leaves_nothing(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    mirror.misbehave(url(kine), *["truncate"] * 5)
    assert "broke off" in fetch.failure("kine")
    assert fetch.cached() == []


def test_a_release_that_does_not_exist_is_said_with_its_address(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    reason = fetch.failure("kine")
    assert f"{mirror.url}/github.com/k3s-io/kine/releases" in reason
    assert "404" in reason


def test_a_checksum_that_names_another_file_is_refused(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    mirror.bodies["/" + kine.files(current_platform().arch)[0].checksum_url.removeprefix("https://")] = (
        f"{'a' * 64}  something-else\n".encode()
    )
    assert "has no SHA-256 of" in fetch.failure("kine")


def test_an_archive_without_the_binary_is_refused(fetch: Fetcher, mirror: Mirror) -> None:
    coredns = pins()["coredns"]
    publish_body(mirror, coredns, archive({"README": b"hello"}))
    assert "has no file coredns" in fetch.failure("coredns")
    assert fetch.cached() == []


def test_a_file_that_is_no_archive_is_refused(fetch: Fetcher, mirror: Mirror) -> None:
    publish_body(mirror, pins()["coredns"], b"<html>sign in</html>")
    assert "is not an archive" in fetch.failure("coredns")


def publish_body(mirror: Mirror, pin: Pin, body: bytes) -> None:
    import hashlib

    (file,) = pin.files(current_platform().arch)
    mirror.bodies["/" + file.url.removeprefix("https://")] = body
    mirror.publish_checksum(file, hashlib.sha256(body).hexdigest())


def test_one_component_that_fails_does_not_cost_the_others(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    with pytest.raises(ComponentsMissing) as raised:
        fetch("kine", "kwok")
    assert [pin.name for pin in raised.value.attempts] == ["kwok"]
    assert fetch("kine")["kine"].origin is Origin.CACHE


def test_a_damaged_cache_is_said_and_mended(fetch: Fetcher, mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    path = fetch("kine")["kine"].path
    path.write_bytes(b"")
    assert fetch("kine")["kine"].origin is Origin.DOWNLOAD
    assert path.read_bytes() == script(kine.version)
    (note,) = [note for note in fetch.progress.notes if "damaged" in note]
    assert note.startswith(f"the cached {kine} is damaged: kine has 0 bytes")


def test_the_mirror_of_the_environment_is_used(
    mirror: Mirror, cache: Path, no_checkout: Path, kine: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.publish(kine)
    monkeypatch.setenv("AUTONODES_MIRROR", f"{mirror.url}/")
    assert resolve(["kine"], cache=cache, source_tree=no_checkout)["kine"].origin is Origin.DOWNLOAD


async def test_a_server_that_stops_answering_is_given_up(mirror: Mirror, tmp_path: Path, kine: Pin) -> None:
    mirror.publish(kine)
    mirror.misbehave(url(kine), "hang", "hang")
    async with Connections(mirror=mirror.url, stall_s=0.2) as connections:
        with pytest.raises(DownloadFailed, match="does not answer"):
            await download(kine, current_platform().arch, tmp_path, connections=connections, progress=Silent())
