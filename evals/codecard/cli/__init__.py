"""The command line: thin. It reads options, calls the functions of `codecard.api` and shows what comes back.

A command's module is imported when the command is called, so that `codecard --help` stays quick.
"""

from __future__ import annotations

import signal
import sys
import tomllib
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from codecard.model import CodecardError
from codecard.paths import tasks_dir

COMMANDS = {
    "run": ("run:run_command", "Ask a model, judge what it wrote, score; on the same --out again: resume."),
    "score": ("run:score_command", "Judge and score completions made elsewhere; needs no model."),
    "report": ("report:report_command", "Render a run again: terminal, md, html, junit, summary, json."),
    "compare": ("compare:compare_command", "Compare two runs, paired by problem; with --gate decide."),
    "baseline": ("compare:baseline", "Baselines: small files that a gate compares with."),
    "reproduce": ("reproduce:reproduce_command", "A card's numbers beside measured ones, with a verdict per cell."),
    "card": ("card:app", "Read a card, check it, write it again."),
    "explain": ("explain:explain_command", "Which setting makes how much of the difference of two profiles."),
    "plan": ("plan:plan_command", "What a run would take and could find out; starts nothing."),
    "merge": ("merge:merge_command", "The shards of a run become one run folder, scored anew."),
    "submit": ("submit:submit_command", "A run as shards on a batch system: Slurm, or this machine."),
    "suites": ("suites:suites_command", "The suites that are there, and their options."),
    "doctor": ("doctor:doctor_command", "Prove that this machine's sandbox and database work, before a run."),
    "images": ("images:app", "The sandbox images."),
}
"""Name → where it is in this package, and what it does."""
MORE = "More, in docs/cli.md: --data-dir, --sandbox, --tasks, --shard, --greedy, and the options of suites."


@cache
def commands() -> dict[str, tuple[str, str]]:
    """Name → where it is, and what it does: the commands above, and those that a suite's folder names."""
    found = {name: (f"{__name__}.{place}", said) for name, (place, said) in COMMANDS.items()}
    for file in sorted(tasks_dir().glob("*/suite.toml")):
        said = tomllib.loads(file.read_text(encoding="utf-8")).get("commands", {})
        found |= {name: (command["app"], command["help"]) for name, command in said.items()}
    return found


class _Commands(TyperGroup):
    """Lists its commands, and loads the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(commands())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(cmd_name, help=commands()[cmd_name][1]) if cmd_name in commands() else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)) if command is not None else None, rest


def load_command(name: str) -> Any:
    """The command itself, with its options: a function, or an application of several."""
    module, _, attribute = commands()[name][0].partition(":")
    return as_command(name, getattr(import_module(module), attribute))


def as_command(name: str, found: Any) -> Any:
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(name, epilog=MORE if name in ("run", "score") else None)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    name="codecard",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from codecard import __version__

        typer.echo(f"codecard {__version__}")
        raise typer.Exit


@app.callback()
def codecard(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Reproduces a code model's card: asks the model, runs what it wrote in sealed containers, prints the tables.

    Each command has its own --help. Exit codes: 0 every planned number is there; 1 a gate or check failed; 2 bad usage
    or input; 3 something of the machine, a server or a checkpoint failed or is missing; 4 cannot tell; 130 and 143
    stopped by Ctrl-C and SIGTERM.
    """


class Stopped(BaseException):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt: the command-line library would answer that one itself."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(128 + number)


def main() -> None:
    """Entry point. A CodecardError becomes one line on stderr and its exit code."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(standalone_mode=True)
    except CodecardError as error:
        print(f"codecard: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Stopped as stopped:
        print("codecard: stopped; the same command again goes on from here", file=sys.stderr)
        sys.exit(stopped.code)
    except BrokenPipeError:
        sys.exit(141)
