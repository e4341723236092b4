"""The command line: thin. It reads options, opens the ports, hands them to the pipeline and shows what comes back."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from codecard.cli.card import app as card
from codecard.cli.compare import register as register_comparing
from codecard.cli.doctor import doctor_command
from codecard.cli.explain import explain_command
from codecard.cli.merge import merge_command
from codecard.cli.mt_bench import judge
from codecard.cli.plan import plan_command
from codecard.cli.reproduce import reproduce_command
from codecard.cli.run import run_command, score_command
from codecard.cli.submit import submit_command
from codecard.model import LANGUAGES, CodecardError, UsageError

app = typer.Typer(
    name="codecard",
    help="Reproduces a code model's card: asks the model, runs what it wrote in sealed containers, prints the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
images = typer.Typer(help="The sandbox images.", no_args_is_help=True)
app.add_typer(images, name="images")
app.add_typer(judge, name="judge")
app.add_typer(card, name="card")
app.command("run", help="Generate, execute, score; on the same --out again: resume.")(run_command)
app.command("score", help="Execute and score completions made elsewhere.")(score_command)
app.command("submit", help="A run as shards on a batch system: Slurm, or this machine.")(submit_command)
app.command("merge", help="The shards of a run become one run folder, scored anew.")(merge_command)
app.command("reproduce", help="A card's numbers beside measured ones, with a verdict per cell.")(reproduce_command)
app.command("doctor", help="Prove that this machine's sandbox and database work, before a run.")(doctor_command)
register_comparing(app)
app.command("plan", help="What a run would take and could find out; starts nothing.")(plan_command)
app.command("explain", help="Which setting makes how much of the difference of two profiles.")(explain_command)


@images.command("build")
def images_build(
    languages: Annotated[list[str] | None, typer.Argument(help="py cpp js java php rs; none: all")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="only those that are not there yet")] = False,
) -> None:
    """Build the sandbox images: from their Dockerfile, on a mmdebstrap base where no registry answers."""
    from codecard.sandbox.images import build, is_current

    console = Console(stderr=True)
    wanted = [language for language in _languages(languages) if not (missing and is_current(language))]
    build(wanted, lambda text: console.print(text, highlight=False))


@images.command("list")
def images_list() -> None:
    """Every language's image: digest and toolchain, or what is missing."""
    from codecard.sandbox import open_sandbox

    sandbox = open_sandbox(None, lambda text: Console(stderr=True).print(text))
    for language in LANGUAGES:
        try:
            image = sandbox.image(language)
            typer.echo(f"{language:5} {image.digest[:19]:20} {image.version}")
        except CodecardError as error:
            typer.echo(f"{language:5} {error}")
    sandbox.close()


def _languages(given: list[str] | None) -> list[str]:
    for language in given or []:
        if language not in LANGUAGES:
            raise UsageError(f"unknown language {language!r}; known: {', '.join(LANGUAGES)}")
    return list(given or LANGUAGES)


class Stopped(BaseException):
    """Ctrl-C. Not KeyboardInterrupt: the command-line library would answer that one itself, without our line."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped


def main() -> None:
    """Entry point. A CodecardError becomes one line on stderr and its exit code."""
    signal.signal(signal.SIGINT, _stop)
    try:
        app(standalone_mode=True)
    except CodecardError as error:
        print(f"codecard: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Stopped:
        print("codecard: stopped; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
