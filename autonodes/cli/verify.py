"""``autonodes verify``: the controllers against a real API server and a world that does not keep its word."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from autonodes.core.errors import ConfigError

if TYPE_CHECKING:
    from autonodes.verify.campaign import Finding, Report
    from autonodes.verify.world import Outcome

_SHOWN: Final = 120
"""Lines of a history that are shown, the last ones."""


@click.command()
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", help="How many seeds: 12 or 200.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds, whatever the profile says.")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Go on with further seeds for so long.")
@click.option("--only", help="Numbers of the faults of the schedule that happen, such as 3,17; none for no fault.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")
def verify(
    profile: str, seeds: int | None, first_seed: int, hours: float | None, only: str | None, as_json: bool
) -> int:
    """Prove the controllers on a misbehaving world.

    Each seed is a world: pools, workloads and users, and some fifty faults. The real controllers run in it against a
    real API server, in virtual time. Exits with 1 if anything did not hold.
    """
    from autonodes.verify.arena import arena, run_virtually
    from autonodes.verify.campaign import FAULTS, SEEDS, campaign

    chosen = None if only is None else _numbers(only, most=FAULTS)
    count = seeds or SEEDS[profile]
    logging.getLogger().addHandler(logging.NullHandler())  # what controllers say belongs to a world's history
    logging.getLogger("autonodes").setLevel(logging.INFO)

    async def run(kubeconfig: Path) -> Report:
        async with arena(kubeconfig) as where:
            return await campaign(where, _seeds(first_seed, count, hours), only=chosen, told=_progress)

    with _ended_by_sigterm(), _api_server() as kubeconfig:
        report = run_virtually(run(kubeconfig))
    for finding in report.findings:
        _show(finding)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        _summarize(report)
    return 1 if report.findings else 0


def _numbers(text: str, *, most: int) -> tuple[int, ...]:
    if text == "none":
        return ()
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) < most for number in numbers):
        raise ConfigError("--only", text, f"write numbers below {most} with commas between, such as 3,17, or none")
    return tuple(int(number) for number in numbers)


def _seeds(first: int, count: int, hours: float | None) -> Iterable[int]:
    if hours is None:
        return range(first, first + count)
    end = time.monotonic() + hours * 3600
    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(first))


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Nothing may be left of the API server then, either."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _api_server() -> Iterator[Path]:
    """The kubeconfig of its administrator.

    :raises EnvironmentFault: it can't be had or started
    """
    from autonodes.components import resolve
    from syncer.controlplane import apiserver, kine, temporary
    from syncer.controlplane.settings import LOOPBACK, ControlPlane

    found = resolve((kine.NAME, apiserver.NAME))
    directory = Path(tempfile.mkdtemp(prefix="an-"))  # short, for the sake of the socket's path
    plane = ControlPlane(
        name="verify",
        state_dir=directory / "cluster",
        run_dir=directory,
        binaries={name: binary.path for name, binary in found.items()},
        port=temporary.free_port(),
        bind_address=LOOPBACK,
        konnectivity=False,
    )
    try:
        with temporary.running(plane, [kine.process(plane), apiserver.process(plane)], directory):
            yield plane.admin_kubeconfig
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _progress(seed: int, outcome: Outcome) -> None:
    verdict = f"{len(outcome.violations)} VIOLATIONS" if outcome.violations else "all held"
    click.echo(f"seed {seed}: {outcome.met.total()} faults, {outcome.checked} checks, {verdict}", err=True)


def _show(finding: Finding) -> None:
    click.echo(f"\nseed {finding.seed}, with {len(finding.needed)} of its faults:", err=True)
    for line in finding.history[-_SHOWN:]:
        click.echo(f"  {line}", err=True)
    for violation in finding.violations:
        click.echo(f"VIOLATION at {violation.at:.0f} s: {violation}", err=True)
    click.echo(f"repeat it: {finding.command}", err=True)


def _summarize(report: Report) -> None:
    for kind, count in sorted(report.faults.items()):
        click.echo(f"{count:7d}  {kind}")
    click.echo(
        f"{report.seeds} seeds, {report.faults.total()} faults, {report.checked} checks of invariants, "
        f"{report.violations} violations; {report.virtual / 3600:.1f} h of virtual time in {report.seconds:.0f} s"
    )
