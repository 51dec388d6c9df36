"""Draws the life of a claim into docs/lifecycle.md, from the table that the controllers go by."""

from __future__ import annotations

from autonodes.core.lifecycle import conditions, diagram
from hack.pages import DOCS, with_part

PAGE = DOCS / "lifecycle.md"


def drawn(page: str) -> str:
    """The page with its generated part made anew."""
    return with_part(page, f"```mermaid\n{diagram()}\n```\n\n{conditions()}")


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
