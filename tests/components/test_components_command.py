"""``autonodes components`` lists, fetches and verifies."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autonodes.cli.components import components
from autonodes.components.pins import Pin, pins
from autonodes.core.errors import ConfigError, EnvironmentFault
from component_releases import Mirror, put_script, script


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(components, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("AUTONODES_CACHE", str(cache))


def test_every_binary_has_a_line_and_what_is_missing_is_no_error() -> None:
    result = run()
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["COMPONENT", "VERSION", "BINARY", "ORIGIN", "PATH"]
    assert len(lines) == sum(len(pin.binaries) for pin in pins().values())
    assert all(line.split()[3:] == ["missing", "-"] for line in lines)
    assert "autonodes components --fetch" in result.stderr


def test_given_binaries_are_shown_with_their_path(tmp_path: Path, kine: Pin) -> None:
    path = put_script(tmp_path / "given" / "kine", script(kine.version))
    result = run("--components", path.parent, "--output", "json", "kine")
    assert json.loads(result.stdout) == [
        {
            "component": "kine",
            "version": kine.version,
            "binary": "kine",
            "origin": "given",
            "obtainedBy": None,
            "path": str(path),
        }
    ]


def test_fetch_gets_what_is_missing_and_the_next_list_shows_how_it_came(mirror: Mirror, kine: Pin) -> None:
    mirror.publish(kine)
    assert run("--fetch", "--mirror", mirror.url, "kine").stdout.splitlines()[1].split()[3] == "download"
    assert "cache (download)" in run("kine").stdout


def test_verify_tells_of_damage_and_fetch_mends_it(mirror: Mirror, kine: Pin, cache: Path) -> None:
    mirror.publish(kine)
    run("--fetch", "--mirror", mirror.url, "kine")
    assert run("--verify", "kine").exit_code == 0
    (path,) = cache.rglob("kine")
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    result = run("--verify", "kine")
    assert isinstance(result.exception, EnvironmentFault)
    assert "fetch them anew with autonodes components --fetch" in str(result.exception)
    assert "content of kine has changed" in result.stderr
    assert "missing" in result.stdout
    assert run("--verify", "--fetch", "--mirror", mirror.url, "kine").exit_code == 0
    assert run("--verify", "kine").exit_code == 0


def test_an_unknown_name_is_refused() -> None:
    result = run("kubctl")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'kubectl'" in str(result.exception)
