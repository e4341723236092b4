"""`codecard merge`: the shards of a run become one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from codecard.cli.sql import show_sql
from codecard.pipeline.merging import merge
from codecard.pipeline.sql import SUITE as SQL_SUITE
from codecard.report.terminal import markdown_table, remarks, show_outcome
from codecard.store import read_manifest, write_text
from codecard.tasks.definitions import CODE_SUITES


def merge_command(
    out: Annotated[Path, typer.Argument(help="the run folder to be written; a run that it holds already is part")],
    runs: Annotated[list[Path], typer.Argument(help="run folders: shards of one run, or parts made on other machines")],
) -> None:
    """Unite runs by sample: the same recipe, profile and data, or exit 2. Scores are computed anew."""
    merge_and_show(out, runs)


def merge_and_show(out: Path, runs: list[Path]) -> None:
    console = Console(stderr=True)
    merged, outcome = merge(out, runs)
    manifest = read_manifest(out)
    label, suites = str(manifest["recipe"]["model"]), tuple(manifest["suites"])
    show_outcome(Console(), label, suites, outcome)
    tables = [markdown_table(suite, label, outcome) for suite in suites if suite in CODE_SUITES]
    if SQL_SUITE in suites:
        tables.append(show_sql(Console(), out, label))
    notes = "".join(f"\n- {line}" for line in remarks(outcome))
    write_text(out / "tables.md", "\n".join(tables) + (f"{notes}\n" if notes else ""))
    for note in merged.notes:
        console.print(Text(note, style="yellow"))
    twice = f", {merged.twice} of them in several runs" if merged.twice else ""
    text = f"{merged.completions} completions{twice}, {merged.executions} executions; run folder: {out}"
    console.print(text, style="dim", highlight=False)
