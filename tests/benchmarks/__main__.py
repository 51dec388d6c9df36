"""``hack/bench NAME [options] [--json]``: runs one benchmark and prints its rows, a JSON object a line or a table.

A benchmark is a module in this folder with a docstring (its first line is shown by ``--list``) and
``run(arguments) -> Iterator[Row]``. Field names carry their unit; every row gets the machine's cores and load.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    if "--list" in arguments:
        for name in _names():
            print(f"{name:12} {(_load(name).__doc__ or '').strip().splitlines()[0]}")
        return 0
    if not arguments or arguments[0] not in _names():
        print(f"usage: hack/bench NAME [options] [--json]; NAME is one of: {', '.join(_names())}", file=sys.stderr)
        return 2
    name, *rest = arguments
    as_json = "--json" in rest
    rows = _rows(name, [argument for argument in rest if argument != "--json"])
    if as_json:
        for row in rows:
            print(json.dumps(row), flush=True)
    else:
        _print_tables(rows)
    return 0


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_")


def _load(name: str) -> Any:
    return importlib.import_module(f"tests.benchmarks.{name}")


def _rows(name: str, arguments: list[str]) -> Iterator[Row]:
    for row in _load(name).run(arguments):
        yield {"benchmark": name, **row, "cores": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)}


def _print_tables(rows: Iterator[Row]) -> None:
    """A table for each run of rows with the same columns, as soon as it is whole."""
    for columns, group in itertools.groupby(rows, key=tuple):
        table = Table(*columns)
        for row in group:
            table.add_row(*map(_text, row.values()))
        console = Console()
        if not console.is_terminal:  # a file has no edge
            console.width = max(
                console.width, console.measure(table, options=console.options.update_width(999)).maximum
            )
        console.print(table)


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
