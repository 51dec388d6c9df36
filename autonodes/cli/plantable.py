"""A plan for the terminal: from 80 columns up nothing is cut off; where there is room, there is more to see."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autonodes.cli.planreport import PlannedNode, Report
from autonodes.core.money import HOURS_A_MONTH

WIDE: Final = 120
"""Columns from which pool and runner-up are shown."""

_PIPED: Final = 200
"""Columns of a table that goes into a file or another command."""
_MOST_NODES: Final = 40
_MOST_PODS: Final = 6
_BAR: Final = 10


@dataclass(frozen=True)
class Group:
    """Nodes that look the same: of one kind, with as many pods of the same workloads."""

    nodes: Sequence[PlannedNode]

    @property
    def first(self) -> PlannedNode:
        return self.nodes[0]

    @property
    def price(self) -> float:
        return sum(node.price for node in self.nodes)


def groups(nodes: Iterable[PlannedNode]) -> list[Group]:
    """The dearest first."""

    def alike(node: PlannedNode) -> tuple[object, ...]:
        kind = (node.price, node.instance_type, node.zone, node.capacity_type, node.pool)
        return (*kind, tuple(sorted(node.workloads.items())))

    ordered = sorted(nodes, key=alike)
    found = [Group(list(listed)) for _, listed in groupby(ordered, key=alike)]
    return sorted(found, key=lambda group: (-group.price, alike(group.first)))


def show(report: Report, console: Console | None = None) -> None:
    """Print it to standard output."""
    console = console or Console(width=None if sys.stdout.isatty() else _PIPED, highlight=False)
    if report.nodes:
        console.print(_nodes(report, console.width))
    _existing(report, console)
    _unplaced(report, console)
    _faults(report, console)
    _notes(report, console)
    console.print(_summary(report))


def _nodes(report: Report, width: int) -> Table:
    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("NODES", justify="right")
    table.add_column("TYPE", no_wrap=True)
    table.add_column("ZONE" if wide else "WHERE", no_wrap=True)
    if wide:
        table.add_column("CAPACITY", no_wrap=True)
        table.add_column("POOL", no_wrap=True)
    table.add_column("$/HOUR", justify="right", no_wrap=True)
    table.add_column("PODS", justify="right")
    table.add_column("CPU", no_wrap=True)
    table.add_column("MEMORY", no_wrap=True)
    table.add_column("FOR EACH", ratio=2, overflow="fold")
    if wide:
        table.add_column("NEXT BEST", no_wrap=True)
    listed = groups(report.nodes)
    for group in listed[:_MOST_NODES]:
        table.add_row(*_row(group, wide))
    if len(listed) > _MOST_NODES:
        rest = listed[_MOST_NODES:]
        nodes, price = sum(len(group.nodes) for group in rest), sum(group.price for group in rest)
        table.add_row(str(nodes), "… others", *([""] * (3 if wide else 1)), f"{price:.4f}")
    return table


def _row(group: Group, wide: bool) -> Iterator[Text | str]:
    node = group.first
    yield str(len(group.nodes))
    yield Text(node.instance_type, style="bold")
    if wide:
        yield node.zone
        yield node.capacity_type
        yield node.pool
    else:
        yield Text(f"{node.zone}\n{node.capacity_type}")
    yield f"{group.price:.4f}"
    yield str(len(node.pods))
    yield _share(node.used("cpu"), wide)
    yield _share(node.used("memory"), wide)
    yield _workloads(node.workloads)
    if wide:
        yield _next_best(node)


def _share(used: float, wide: bool) -> Text:
    style = "green" if used >= 0.8 else "yellow" if used >= 0.5 else "red"
    bar = "█" * round(used * _BAR) if wide else ""
    return Text.assemble((f"{bar:<{_BAR}} " if wide else "", style), f"{used:>4.0%}")


def _workloads(workloads: Mapping[str, int]) -> Text:
    """Text, so that a name in brackets is no markup."""
    return Text(
        ", ".join(f"{count} x {_short(name)}" if count > 1 else _short(name) for name, count in workloads.items())
    )


def _short(name: str) -> str:
    return name.removeprefix("default/")


def _next_best(node: PlannedNode) -> str:
    if node.runner_up is None:
        return "none"
    name, price = node.runner_up.instance_type, node.runner_up.price
    return name if price is None else f"{name} {price - node.price:+.4f}"


def _existing(report: Report, console: Console) -> None:
    if report.existing:
        placed = sum(len(pods) for pods in report.existing.values())
        console.print(f"{_count(placed, 'pod')} will go to {_count(len(report.existing), 'node')} that are there.")
        for name, pods in list(report.existing.items())[:_MOST_NODES]:
            console.print(Text(f"  {name}: {_few(pods)}"))
        console.print()


def _unplaced(report: Report, console: Console) -> None:
    for reasons, pods in report.unplaced:
        console.print(Text.assemble((f"✗ {_count(len(pods), 'pod')} without a node: ", "red bold"), _few(pods)))
        for reason in reasons:
            console.print(Text(f"  {f'{reason.pool}: ' if reason.pool else ''}{reason.text}"), soft_wrap=False)
        console.print()


def _faults(report: Report, console: Console) -> None:
    for fault in report.faults:
        console.print(Text.assemble(("! left out: ", "yellow bold"), str(fault)))
    if report.faults:
        console.print()


def _notes(report: Report, console: Console) -> None:
    for note in report.notes:
        console.print(Text.assemble(("note: ", "cyan"), note))
    if report.passed_over:
        kinds = ", ".join(report.passed_over)
        console.print(Text(f"note: passed over, since no plan depends on it: {kinds}", style="dim"))
    if report.notes or report.passed_over:
        console.print()


def _summary(report: Report) -> Text:
    month = report.cost * HOURS_A_MONTH
    lines = [
        ("Nodes", f"{len(report.nodes)} to buy for {report.pods - report.left} of {_count(report.pods, 'pod')}"),
        ("Cost", f"${report.cost:,.4f} an hour, ${month:,.2f} a month"),
        (
            "Bound",
            f"no plan costs less than ${report.proof.lower_bound:,.4f}; this one is {report.proof.gap:.1%} above",
        ),
        ("Catalog", report.catalogue),
    ]
    text = Text()
    for number, (name, value) in enumerate(lines):
        text.append("\n" if number else "")
        text.append(f"{name:<12}", style="dim")
        text.append(value, style="bold" if name == "Cost" else "")
    return text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_PODS])
    return shown if len(names) <= _MOST_PODS else f"{shown} and {len(names) - _MOST_PODS} more"
