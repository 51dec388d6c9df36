"""The cache holds whole and unchanged components, or none."""

import json
import os
import threading
from pathlib import Path

import pytest

from autonodes.components.errors import CacheFault
from autonodes.components.pins import Pin, pins
from autonodes.components.platforms import Platform
from autonodes.components.reporting import Silent
from autonodes.components.store import MANIFEST, Damage, Entry, Store, default_cache
from component_releases import RecordedProgress, put_script, script


@pytest.fixture
def store(cache: Path) -> Store:
    return Store(cache, Platform("linux", "amd64"))


def keep(store: Store, pin: Pin) -> Entry:
    with store.locked(Silent()), store.stage() as stage:
        for binary in pin.binaries:
            (stage / binary).write_bytes(script(pin.version))
        return store.commit(stage, pin, "build")


def test_an_empty_cache_has_nothing(store: Store, kine: Pin) -> None:
    assert store.find(kine) is None
    assert store.verify(kine) is None


def test_what_was_committed_is_found_by_version_and_platform(store: Store, kine: Pin, cache: Path) -> None:
    kept = keep(store, kine)
    assert store.find(kine) == kept
    assert kept.path("kine") == cache / "components" / "linux-amd64" / f"kine-{kine.version}" / "kine"
    assert os.access(kept.path("kine"), os.X_OK)
    assert Store(cache, Platform("linux", "arm64")).find(kine) is None


def test_everybody_may_run_what_root_has_cached(store: Store, kine: Pin) -> None:
    kept = keep(store, kine)
    assert kept.directory.stat().st_mode & 0o777 == 0o755
    assert kept.path("kine").stat().st_mode & 0o777 == 0o755


def test_work_that_was_not_committed_leaves_nothing(store: Store, kine: Pin) -> None:
    with store.locked(Silent()):
        with store.stage() as stage:
            (stage / "kine").write_bytes(b"half")
        assert store.find(kine) is None
        assert list(store.root.glob(".stage-*")) == []


def test_a_component_with_a_binary_missing_is_not_committed(store: Store) -> None:
    plugins = pins()["cni-plugins"]
    with store.locked(Silent()), store.stage() as stage:
        (stage / "bridge").write_bytes(b"alone")
        with pytest.raises(CacheFault):
            store.commit(stage, plugins, "build")
    assert store.find(plugins) is None


def test_the_next_writer_removes_what_a_killed_one_left(store: Store, kine: Pin) -> None:
    keep(store, kine)
    for left in (".stage-abc", ".old-def"):
        put_script(store.root / left / "kine", "half")
    with store.locked(Silent()):
        assert [path.name for path in store.root.iterdir() if path.is_dir()] == [f"kine-{kine.version}"]


def test_a_copied_cache_is_good_though_its_times_differ(store: Store, kine: Pin) -> None:
    kept = keep(store, kine)
    os.utime(kept.path("kine"), (1, 1))
    assert store.find(kine) == kept


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"X")


def forbid(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shorten, "kine has"),
        (alter, "content of kine has changed"),
        (Path.unlink, "kine: No such file"),
        (forbid, "kine is not executable"),
    ],
)
def test_a_changed_binary_is_not_used(store: Store, kine: Pin, damage: object, reason: str) -> None:
    damage(keep(store, kine).path("kine"))  # type: ignore[operator]
    found = store.find(kine)
    assert isinstance(found, Damage)
    assert reason in found.reason


@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", "{}", json.dumps({"obtainedBy": "build", "binaries": {"kine": {"size": 1}}})]
)
def test_an_unreadable_manifest_is_damage(store: Store, kine: Pin, manifest: str) -> None:
    (keep(store, kine).directory / MANIFEST).write_text(manifest)
    found = store.find(kine)
    assert isinstance(found, Damage)
    assert MANIFEST in found.reason


def test_verify_finds_a_change_that_kept_size_and_time_and_the_entry_stays_unusable(store: Store, kine: Pin) -> None:
    path = keep(store, kine).path("kine")
    status = path.stat()
    alter(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert isinstance(store.find(kine), Entry)
    assert isinstance(store.verify(kine), Damage)
    assert isinstance(store.find(kine), Damage)


def test_a_damaged_entry_is_replaced(store: Store, kine: Pin) -> None:
    shorten(keep(store, kine).path("kine"))
    kept = keep(store, kine)
    assert store.find(kine) == kept


def test_a_second_writer_waits_and_says_so(store: Store, progress: RecordedProgress) -> None:
    entered = threading.Event()

    def second() -> None:
        with store.locked(progress):
            entered.set()

    with store.locked(Silent()):
        thread = threading.Thread(target=second)
        thread.start()
        assert progress.noted.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()
    assert "another process" in progress.notes[0]


def test_a_full_disk_is_an_error_with_a_remedy(store: Store) -> None:
    with (
        store.locked(Silent()),
        pytest.raises(CacheFault, match=r"disk full at .*: free some 3 GB, or set AUTONODES_CACHE"),
        store.stage(),
    ):
        Path("/dev/full").write_bytes(b"x")


def test_a_cache_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    blocked = put_script(tmp_path / "file", "")
    store = Store(blocked, Platform("linux", "amd64"))
    with pytest.raises(CacheFault, match=r"can't be written .*: set AUTONODES_CACHE"), store.locked(Silent()):
        pass


def test_the_cache_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_cache({"AUTONODES_CACHE": "/somewhere", "XDG_CACHE_HOME": "/xdg"}) == Path("/somewhere")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_cache({"XDG_CACHE_HOME": "/xdg"}) == Path("/var/cache/autonodes")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_cache({"XDG_CACHE_HOME": "/xdg"}) == Path("/xdg/autonodes")
    assert default_cache({}) == Path.home() / ".cache" / "autonodes"
