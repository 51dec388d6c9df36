"""A plan as one page that needs nothing else: the packing as a picture.

A bar is a node (or several that look the same), as long as it is large, and a segment what one workload requests
there; what is hatched is left over. CPU, memory and GPUs can be looked at in turn. Colours are spread over the hues in
the order of what the workloads need, and the page follows the reader's choice of light or dark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from autonodes.cli.planreport import PlannedNode, Report
from autonodes.cli.plantable import Group, groups
from autonodes.core.catalog import is_device
from autonodes.core.model import Resources
from autonodes.core.money import HOURS_A_MONTH
from autonodes.core.quantities import format_resource

_MOST_GROUPS: Final = 400
_MOST_IN_LEGEND: Final = 40
_MOST_PODS: Final = 12
_GOLDEN: Final = 137.508
_FIRST_HUE: Final = 250
_THIN: Final = 0.05
"""Of the widest bar: a segment that is narrower shows no text."""
_GIB: Final = 2**30


@dataclass(frozen=True)
class _Measure:
    """One of the things that bars can show.

    :param amount: of some resources
    :param text: of an amount
    """

    key: str
    label: str
    amount: Callable[[Resources], int]
    text: Callable[[int], str]


def _gpus(resources: Resources) -> int:
    return sum(amount for name, amount in resources.items() if is_device(name))


_MEASURES: Final = (
    _Measure("cpu", "CPU", lambda of: of.get("cpu", 0), lambda amount: f"{amount / 1000:g} CPU"),
    _Measure("memory", "Memory", lambda of: of.get("memory", 0), lambda amount: f"{amount / _GIB:.1f} GiB"),
    _Measure("gpu", "GPUs", _gpus, lambda amount: f"{amount} GPU{'' if amount == 1 else 's'}"),
)


def render(report: Report) -> str:
    """The whole page."""
    template = Template(files("autonodes.cli").joinpath("planpage.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"${report.cost:,.2f} an hour",
        catalogue=escape(report.catalogue),
        cards="".join(_cards(report)),
        chart=_chart(report) if report.nodes else "",
        problems="".join(_problems(report)),
    )


def _cards(report: Report) -> Iterator[str]:
    yield _card(f"${report.cost:,.2f}", "an hour")
    yield _card(f"${report.cost * HOURS_A_MONTH:,.0f}", "a month")
    if report.nodes:
        yield _card(f"{report.proof.gap:.1%}", f"above the bound, ${report.proof.lower_bound:,.2f}")
    yield _card(f"{len(report.nodes):,}", "nodes to buy")
    yield _card(f"{report.pods - report.left:,}", f"of {report.pods:,} pods placed")
    if report.existing:
        placed = sum(len(pods) for pods in report.existing.values())
        yield _card(f"{placed:,}", "pods on nodes that are there")
    if report.left:
        yield _card(f"{report.left:,}", "pods without a node", "bad")
    for measure in _MEASURES[:2]:
        total = sum(measure.amount(node.allocatable) for node in report.nodes)
        if total:
            used = sum(min(measure.amount(node.requests), measure.amount(node.allocatable)) for node in report.nodes)
            yield _card(
                f"{used / total:.0%}",
                f"of the {measure.label if measure.key == 'cpu' else measure.label.lower()} requested",
            )


def _card(value: str, label: str, kind: str = "") -> str:
    return f'<div class="card {kind}"><b>{escape(value)}</b>{escape(label)}</div>'


def _chart(report: Report) -> str:
    measures = [each for each in _MEASURES if any(each.amount(node.allocatable) for node in report.nodes)]
    largest = {each.key: max(each.amount(node.allocatable) for node in report.nodes) for each in measures}
    hues = _hues(report.nodes)
    listed = groups(report.nodes)
    rows = "".join(_row(group, measures, largest, hues) for group in listed[:_MOST_GROUPS])
    rest = sum(len(group.nodes) for group in listed[_MOST_GROUPS:])
    more = f'<p class="dim">and {rest:,} nodes more</p>' if rest else ""
    return (
        f'<div class="bar-head"><h2>What goes where</h2>{_choice(measures)}</div>'
        f'<ul class="legend">{"".join(_legend(report.nodes, hues))}</ul><div class="nodes">{rows}</div>{more}'
    )


def _choice(measures: Sequence[_Measure]) -> str:
    radios = "".join(
        f'<label><input type="radio" name="measure" id="r-{each.key}"{" checked" if not number else ""}>'
        f"{each.label}</label>"
        for number, each in enumerate(measures)
    )
    return f'<div class="choice">{radios}</div>'


def _hues(nodes: Iterable[PlannedNode]) -> dict[str, float]:
    """Workload → hue; neighbours in the order get hues far apart."""
    weight: Counter[str] = Counter()
    for node in nodes:
        for name, load in node.loads.items():
            weight[name] += load.get("cpu", 0)
    ordered = sorted(weight, key=lambda name: (-weight[name], name))
    return {name: round((_FIRST_HUE + number * _GOLDEN) % 360, 1) for number, name in enumerate(ordered)}


def _legend(nodes: Iterable[PlannedNode], hues: Mapping[str, float]) -> Iterator[str]:
    pods: Counter[str] = Counter()
    for node in nodes:
        pods.update(node.workloads)
    for name in list(hues)[:_MOST_IN_LEGEND]:
        swatch = f'<span class="swatch" style="background:oklch(var(--seg) var(--chroma) {hues[name]})"></span>'
        yield f'<li data-w="{escape(name)}">{swatch}{escape(_short(name))} <span class="dim">{pods[name]:,}</span></li>'
    if len(hues) > _MOST_IN_LEGEND:
        yield f'<li class="dim">and {len(hues) - _MOST_IN_LEGEND} others</li>'
    if any(node.overhead for node in nodes):
        yield '<li><span class="swatch daemon"></span>DaemonSets</li>'
    yield '<li><span class="swatch free"></span>left over</li>'


def _row(group: Group, measures: Sequence[_Measure], largest: Mapping[str, int], hues: Mapping[str, float]) -> str:
    node, count = group.first, len(group.nodes)
    times = f'<span class="times">{count:,} × </span>' if count > 1 else ""  # noqa: RUF001 -- a page can show it
    lengths = _widths(node.allocatable, largest, measures)
    each = f"<small>${node.price:.4f} each</small>" if count > 1 else ""
    used = "".join(f'<span class="of-{measure.key}">{_of(node, measure)}</span>' for measure in measures)
    return (
        f'<div class="node" title="{escape(_second(node))}">'
        f'<div class="what">{times}<b>{escape(node.instance_type)}</b>'
        f"<small>{escape(node.zone)} · {escape(node.capacity_type)} · {escape(node.pool)}</small></div>"
        f'<div class="chart"><div class="size" style="{lengths}"><div class="bar">'
        f'{"".join(_segments(node, measures, largest, hues))}</div></div><span class="used">{used}</span></div>'
        f'<div class="price">${group.price:,.4f}{each}</div></div>'
    )


def _second(node: PlannedNode) -> str:
    second = node.runner_up
    return f"next best: {second.instance_type}, {second.why}" if second else "no other type would do"


def _of(node: PlannedNode, measure: _Measure) -> str:
    total, used = measure.amount(node.allocatable), measure.amount(node.requests)
    if not total:
        return f"no {measure.label}"
    return f"{measure.text(used).partition(' ')[0]} of {measure.text(total)} requested, {used / total:.0%}"


def _segments(
    node: PlannedNode, measures: Sequence[_Measure], largest: Mapping[str, int], hues: Mapping[str, float]
) -> Iterator[str]:
    whole = {measure.key: measure.amount(node.allocatable) for measure in measures}
    for name, load in sorted(node.loads.items(), key=lambda item: list(hues).index(item[0])):
        count = node.workloads[name]
        label = f"{count} × {_short(name)}" if count > 1 else _short(name)  # noqa: RUF001 -- as above
        amounts = ", ".join(measure.text(measure.amount(load)) for measure in measures if measure.amount(load))
        tip = f"{name}: {count} pod{'' if count == 1 else 's'}, {amounts}"
        thin = load.get("cpu", 0) < _THIN * largest["cpu"]
        yield (
            f'<div class="seg{" thin" if thin else ""}" data-w="{escape(name)}" title="{escape(tip)}" '
            f'style="--h:{hues[name]};{_widths(load, whole, measures)}">{"" if thin else escape(label)}</div>'
        )
    if node.overhead:
        requests = ", ".join(f"{name} {format_resource(name, node.overhead[name])}" for name in sorted(node.overhead))
        yield (
            f'<div class="seg thin daemon" title="DaemonSets: {escape(requests)}" '
            f'style="{_widths(node.overhead, whole, measures)}"></div>'
        )


def _widths(part: Resources, whole: Mapping[str, int], measures: Sequence[_Measure]) -> str:
    """``--cpu:12.5%;--memory:…`` of a part in each measure."""
    return ";".join(
        f"--{each.key}:{100 * each.amount(part) / whole[each.key] if whole[each.key] else 0:.3f}%" for each in measures
    )


def _problems(report: Report) -> Iterator[str]:
    if report.unplaced:
        yield "<h2>Pods without a node</h2>"
    for reasons, pods in report.unplaced:
        shown = ", ".join(pods[:_MOST_PODS]) + (f" and {len(pods) - _MOST_PODS} more" if len(pods) > _MOST_PODS else "")
        items = "".join(
            f"<li>{f'<b>{escape(each.pool)}</b>: ' if each.pool else ''}{escape(each.text)}</li>" for each in reasons
        )
        yield f'<div class="unplaced"><b>{len(pods)}</b>: {escape(shown)}<ul>{items}</ul></div>'
    if report.faults:
        yield "<h2>Left out</h2>"
    for fault in report.faults:
        yield f'<div class="unplaced">{escape(str(fault))}</div>'
    notes = [*report.notes]
    if report.passed_over:
        notes.append(f"passed over, since no plan depends on it: {', '.join(report.passed_over)}")
    if notes:
        yield f'<h2>Notes</h2><ul class="dim">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _short(name: str) -> str:
    return name.removeprefix("default/")
