"""`codecard merge`: the shards of a run become one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from codecard.cli.run import finish
from codecard.runs.merge import merge
from codecard.text import printable


def merge_command(
    out: Annotated[Path, typer.Argument(help="the run folder to be written; a run that it holds already is part")],
    runs: Annotated[list[Path], typer.Argument(help="run folders: shards of one run, or parts made on other machines")],
) -> None:
    """Unite runs by sample: the same recipe, profile and data, or exit 2. Scores are computed anew."""
    merge_and_show(out, runs)


def merge_and_show(out: Path, runs: list[Path]) -> None:
    console = Console(stderr=True)
    merged, run = merge(out, runs)
    for note in merged.notes:
        console.print(Text(printable(note), style="yellow"))
    twice = f", {merged.twice} of them in several runs" if merged.twice else ""
    text = f"{merged.completions} completions{twice}, {merged.executions} executions"
    console.print(text, style="dim", highlight=False)
    finish(run)
