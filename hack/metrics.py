"""Writes the table of the series into docs/metrics.md, from that by which the controller makes them."""

from __future__ import annotations

from autonodes.controllers.series import table
from hack.pages import DOCS, with_part

PAGE = DOCS / "metrics.md"


def written(page: str) -> str:
    """The page with its generated part made anew."""
    return with_part(page, table())


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
