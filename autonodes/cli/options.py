"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from autonodes.cli.state import DEFAULT_NAME

F = TypeVar("F", bound=Callable[..., Any])


def cluster_name(function: F) -> F:
    return click.option(
        "--name",
        default=DEFAULT_NAME,
        show_default=True,
        envvar="AUTONODES_NAME",
        help="The cluster.  [env: AUTONODES_NAME]",
    )(function)
