"""``autonodes components``: what clusters and nodes are made of, at which version, and where it comes from."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from autonodes.components import Binary, Components, Damage, Origin, Pin, Progress, locate, resolve, select, verify
from autonodes.components.progress import open_progress
from autonodes.core.errors import EnvironmentFault

_FETCH = "autonodes components --fetch"


@dataclass(frozen=True, slots=True)
class Row:
    """One binary as it is shown.

    :param origin: given, cache, download, build, or missing
    :param obtained_by: how a cached binary got into the cache; else empty
    """

    component: str
    version: str
    binary: str
    origin: str
    obtained_by: str = ""
    path: str = ""

    def as_json(self) -> dict[str, str | None]:
        """With null where there is nothing to say."""
        return {
            "component": self.component,
            "version": self.version,
            "binary": self.binary,
            "origin": self.origin,
            "obtainedBy": self.obtained_by or None,
            "path": self.path or None,
        }


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--components",
    "given",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look in this directory first; may be repeated.  [env: AUTONODES_COMPONENTS, separated by colons]",
)
@click.option("--fetch", is_flag=True, help="Download or build what is missing.")
@click.option("--verify", "check", is_flag=True, help="Hash everything in the cache.")
@click.option(
    "--mirror",
    metavar="URL",
    envvar="AUTONODES_MIRROR",
    default="",
    help="Download https://HOST/PATH from URL/HOST/PATH.  [env: AUTONODES_MIRROR]",
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def components(names: Sequence[str], given: Sequence[Path], fetch: bool, check: bool, mirror: str, output: str) -> None:
    """List the components, each with its version and where it comes from.

    NAME is a component (kubernetes) or one of its binaries (kubectl); without any, all are listed. Nothing is
    fetched without --fetch: what is not there is shown as missing.
    """
    chosen, directories = names or None, given or None
    damage = _verify(chosen) if check else {}
    with _progress() as progress:
        if fetch:
            found = resolve(chosen, given=directories, mirror=mirror, progress=progress)
        else:
            found, _ = locate(chosen, given=directories, progress=progress)
    rows = _rows(chosen, found)
    _show(rows, output)
    if damage and not fetch:
        raise EnvironmentFault(
            "damaged in the cache, and not used any more: " + ", ".join(str(pin) for pin in damage),
            f"fetch them anew with {_FETCH}",
        )


def _rows(names: Sequence[str] | None, found: Components) -> list[Row]:
    return [_row(pin, name, found.get(name)) for pin, binaries in select(names).items() for name in binaries]


def _row(pin: Pin, name: str, binary: Binary | None) -> Row:
    if binary is None:
        return Row(pin.name, pin.version, name, "missing")
    obtained_by = binary.obtained_by if binary.origin is Origin.CACHE else ""
    return Row(pin.name, pin.version, name, binary.origin, obtained_by, str(binary.path))


def _progress() -> AbstractContextManager[Progress]:
    """On standard error, so that the list can be piped."""
    return open_progress(Console(stderr=True))


def _verify(names: Sequence[str] | None) -> Mapping[Pin, Damage]:
    damage = {pin: entry for pin, entry in verify(names).items() if isinstance(entry, Damage)}
    for pin, entry in damage.items():
        click.echo(f"the cached {pin} is damaged: {entry.reason} ({entry.directory})", err=True)
    return damage


def _show(rows: Sequence[Row], output: str) -> None:
    if output == "json":
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
        return
    for line in _table(rows):
        click.echo(line)
    if any(row.origin == "missing" for row in rows):
        click.echo(f"\nGet what is missing with: {_FETCH}", err=True)


def _table(rows: Sequence[Row]) -> list[str]:
    """Columns as kubectl's, one binary a line, so that it can be searched; the path is last and never cut."""
    cells = [("COMPONENT", "VERSION", "BINARY", "ORIGIN", "PATH")]
    for row in rows:
        origin = f"{row.origin} ({row.obtained_by})" if row.obtained_by else row.origin
        cells.append((row.component, row.version, row.binary, origin, row.path or "-"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
