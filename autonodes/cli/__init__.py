"""The command ``autonodes``.

Each command's module is imported when that command runs, so that ``--help`` is quick and the processes that stay (the
supervisor, the controller) hold only what they need.

Exit codes: 0 done, 1 it could not be done, 2 wrong usage or bad input.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import click

from autonodes import __version__
from autonodes.core.errors import AutonodesError, ConfigError, EnvironmentFault

FAILED: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class _Command:
    """:param summary: shown by ``autonodes --help`` without importing the module; empty hides the command"""

    module: str
    summary: str = ""


_COMMANDS: Final = {
    "up": _Command("up", "Start a cluster, or bring a running one to what its configuration says."),
    "status": _Command("status", "Show what runs and how it is."),
    "kubeconfig": _Command("kubeconfig", "Print the administrator's kubeconfig."),
    "plan": _Command("plan", "Show which nodes would be bought for some pods, without a cluster."),
    "explain": _Command("explain", "Say why a pod waits, or why a node was bought, is kept or went away."),
    "record": _Command("record", "Record what the planner of a cluster sees."),
    "replay": _Command("replay", "Print the decisions that follow from a recorded snapshot."),
    "ledger": _Command("ledger", "Show and verify who had which bare-metal host, and that it was wiped in between."),
    "verify": _Command("verify", "Prove the controllers: crashes, outages and a lying provider, in virtual time."),
    "down": _Command("down", "Remove a cluster with all its nodes and data."),
    "components": _Command("components", "List the pinned components and where they come from."),
    "supervise": _Command("supervise"),
    "controller": _Command("controller"),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = _COMMANDS.get(cmd_name)
        if known is None:
            return None
        module = importlib.import_module(f"autonodes.cli.{known.module}")
        command: click.Command = getattr(module, known.module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [(name, command.summary) for name, command in _COMMANDS.items() if command.summary]
        with formatter.section("Commands"):
            formatter.write_dl(shown)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            ctx.fail(_unknown_command(args[0]))
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autonodes")
def cli() -> None:
    """Kubernetes clusters that buy their own nodes when pods wait, and give them back.

    Try: autonodes up
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    try:
        result = cli.main(arguments if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except AutonodesError as error:
        _show(error)
        sys.exit(BAD_INPUT if isinstance(error, ConfigError) else FAILED)
    except OSError as error:
        fault = _machine_fault(error)
        if fault is None:
            raise
        _show(fault)
        sys.exit(FAILED)
    sys.exit(result if isinstance(result, int) else 0)


def _show(error: AutonodesError) -> None:
    """One block on standard error: what is wrong, and below it what to do."""
    if isinstance(error, EnvironmentFault):
        click.echo(f"error: {error.problem}\n  {_indented(error.remedy)}", err=True)
    else:
        click.echo(f"error: {_indented(str(error))}", err=True)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _machine_fault(error: OSError) -> EnvironmentFault | None:
    """What the system calls of any command can run into."""
    where = error.filename or "this machine"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault(f"no space left for {where}", "make room on that file system and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFault(
            f"{where} can't be written or read: {error.strerror}",
            "run as the user who owns it, or choose another place with AUTONODES_HOME",
        )
    return None


def _unknown_command(name: str) -> str:
    import difflib

    shown = [each for each, command in _COMMANDS.items() if command.summary]
    close = difflib.get_close_matches(name, shown, n=1)
    return f"no command {name!r}" + (f": did you mean {close[0]!r}?" if close else f": there are {', '.join(shown)}")
