"""The order of the sources, and what is said when none has a component."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autonodes.components import ComponentsMissing, Origin, RefusedBinary, locate, pins, resolve, verify
from autonodes.components.pins import Pin
from autonodes.components.store import Damage, Entry
from component_releases import Mirror, RecordedProgress, put_script, script


@pytest.fixture
def given(tmp_path: Path, kine: Pin) -> Path:
    put_script(tmp_path / "given" / "kine", script(kine.version))
    return tmp_path / "given"


def test_a_given_binary_comes_first(given: Path, mirror: Mirror, cache: Path, kine: Pin) -> None:
    mirror.publish(kine)
    found = resolve(["kine"], given=given, cache=cache, mirror=mirror.url)
    assert found["kine"].origin is Origin.GIVEN
    assert found.path("kine") == given / "kine"
    assert mirror.requests == []
    assert not cache.exists()


def test_the_environment_gives_directories_too(given: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTONODES_COMPONENTS", f"{cache.parent}:{given}")
    assert resolve(["kine"])["kine"].path == given / "kine"


def test_one_given_binary_stands_beside_the_rest_of_its_component(
    tmp_path: Path, mirror: Mirror, cache: Path, no_checkout: Path
) -> None:
    kubernetes = pins()["kubernetes"]
    mirror.publish(kubernetes)
    put_script(tmp_path / "kubelet", script(kubernetes.version))
    found = resolve(["kubernetes"], given=tmp_path, cache=cache, mirror=mirror.url, source_tree=no_checkout)
    assert {name for name, binary in found.items() if binary.origin is Origin.GIVEN} == {"kubelet"}
    assert {binary.origin for binary in found.values()} == {Origin.GIVEN, Origin.DOWNLOAD}
    assert list(found) == list(kubernetes.binaries)


def test_a_given_binary_of_another_version_is_refused_before_anything_is_fetched(
    tmp_path: Path, mirror: Mirror, cache: Path
) -> None:
    put_script(tmp_path / "kine", script("0.0.1"))
    with pytest.raises(RefusedBinary):
        resolve(["kine"], given=[tmp_path], cache=cache, mirror=mirror.url)
    assert mirror.requests == []


def test_a_given_binary_without_a_version_is_taken_and_that_is_told(
    tmp_path: Path, cache: Path, progress: RecordedProgress
) -> None:
    put_script(tmp_path / "kine", "#!/bin/sh\n")
    assert resolve(["kine"], given=tmp_path, cache=cache, progress=progress)["kine"].origin is Origin.GIVEN
    (note,) = progress.notes
    assert "does not say its version" in note


def test_only_what_is_asked_for_is_there(given: Path, cache: Path) -> None:
    found = resolve(["kine"], given=given, cache=cache)
    assert list(found) == ["kine"]
    with pytest.raises(KeyError):
        found.path("kubelet")


def test_the_build_is_the_last_source(
    tmp_path: Path, mirror: Mirror, cache: Path, progress: RecordedProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    flannel = pins()["flannel"]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    put_script(
        tmp_path / "bin" / "go",
        f"""#!/bin/sh
case "$1" in
version) echo go version go1.99.0 linux/amd64 ;;
env) echo '{{}}' ;;
build) while [ "$1" != -o ]; do shift; done; printf '#!/bin/sh\\necho v{flannel.version}\\n' > "$2"; chmod +x "$2" ;;
esac
""",
    )
    built = resolve(["flanneld"], cache=cache, mirror=mirror.url, progress=progress)["flanneld"]
    assert (built.origin, built.obtained_by) == (Origin.BUILD, Origin.BUILD)
    assert "404" not in " ".join(progress.notes)
    again = resolve(["flanneld"], cache=cache, mirror=mirror.url)["flanneld"]
    assert (again.origin, again.obtained_by) == (Origin.CACHE, Origin.BUILD)


def test_what_could_not_be_had_is_said_with_every_source_and_a_remedy(
    tmp_path: Path, mirror: Mirror, cache: Path, no_checkout: Path
) -> None:
    with pytest.raises(ComponentsMissing) as raised:
        resolve(
            ["kine", "local-path-provisioner"],
            given=tmp_path,
            cache=cache,
            mirror=mirror.url,
            source_tree=no_checkout,
        )
    kine, provisioner = pins()["kine"], pins()["local-path-provisioner"]
    assert list(raised.value.attempts) == [kine, provisioner]
    assert [source for source, _ in raised.value.attempts[kine]] == ["given", "cache", "download", "build"]
    text = str(raised.value)
    for expected in (
        f"components that could not be had: {kine}, {provisioner}\n",
        f"    given     not in {tmp_path}\n",
        f"    cache     not in {cache}/components/",
        "    download  http://127.0.0.1:",
        "    download  its publisher releases no binaries",
        "    build     this is not a source checkout\n",
        "To mend it, connect this machine to the internet",
    ):
        assert expected in text


def test_two_runs_at_once_fetch_once(mirror: Mirror, cache: Path, no_checkout: Path, kine: Pin) -> None:
    mirror.publish(kine)

    def run(_: int) -> Path:
        return resolve(["kine"], cache=cache, mirror=mirror.url, source_tree=no_checkout).path("kine")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(4)))) == 1
    assert len(mirror.requests) == 2  # the checksum and the file


def test_looking_fetches_nothing(given: Path, mirror: Mirror, cache: Path) -> None:
    found, missing = locate(["kine", "kubectl"], given=given, cache=cache)
    assert list(found) == ["kine"]
    assert missing == (pins()["kubernetes"],)
    assert mirror.requests == []
    assert not cache.exists()


def test_verify_hashes_what_is_cached(mirror: Mirror, cache: Path, no_checkout: Path, kine: Pin) -> None:
    mirror.publish(kine)
    path = resolve(["kine"], cache=cache, mirror=mirror.url, source_tree=no_checkout).path("kine")
    (whole,) = verify(["kine"], cache=cache).values()
    assert isinstance(whole, Entry)
    path.write_bytes(path.read_bytes().replace(b"sh", b"SH"))
    (damaged,) = verify(["kine"], cache=cache).values()
    assert isinstance(damaged, Damage)
    assert list(verify(["runc"], cache=cache).values()) == [None]
