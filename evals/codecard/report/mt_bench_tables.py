"""The MT-Bench table of a run, on the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.model import Estimate
from codecard.pipeline.mt_bench import MtBenchOutcome
from codecard.report.terminal import interval, remarks, shown
from codecard.report.text import markdown, printable
from codecard.tasks.mt_bench import TASK

COLUMNS = (("Score", "score"), ("Turn 1", "turn_1"), ("Turn 2", "turn_2"))


def show_mt_bench(console: Console, label: str, found: MtBenchOutcome) -> str:
    """Prints the table and every note; returns them as Markdown."""
    rows, notes = _rows(label, found), [*found.notes, *remarks(found.outcome)]
    table = Table(title="MT-Bench Coding, mean rating of 1 to 10", title_style="bold")
    for position, (name, *_) in enumerate(zip(*rows, strict=True)):
        table.add_column(Text(name), justify="right" if position else "left", no_wrap=position > 0)
    for position, row in enumerate(rows[1:]):
        table.add_row(*(Text(printable(cell)) for cell in row), style="" if position else "bold")
    console.print(table)
    for note in notes:
        console.print(Text(printable(note), style="yellow"))
    return _markdown(rows) + "".join(f"\n- {markdown(note)}" for note in notes) + ("\n" if notes else "")


def _rows(label: str, found: MtBenchOutcome) -> list[list[str]]:
    estimates = [found.outcome.scores[TASK].get(metric) for _, metric in COLUMNS]
    return [
        ["Model", *(name for name, _ in COLUMNS), "Judge"],
        [label, *(shown(estimate) for estimate in estimates), found.judge or "none"],
        ["95 % interval", *(interval(estimate) for estimate in estimates), ""],
        ["questions", *(_count(estimate) for estimate in estimates), ""],
    ]


def _count(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.n}" + (f", {estimate.void} void" if estimate.void else "")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[markdown(cell) for cell in row] for row in rows]
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
