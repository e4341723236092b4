"""What the terminal shows: the progress of both stages, and the tables in the card's own shape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from codecard.model import Completion, Outcome, Table
from codecard.runs.pipeline import Watcher
from codecard.runs.reading import Run
from codecard.tables import grid_of, rows_of
from codecard.text import printable

PLAIN_EVERY_S = 10.0


class TerminalWatcher(Watcher):
    """Live bars on a terminal, a line now and then elsewhere. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("[bold]{task.description:<22}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:<16}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._live = Live(Group(self._bars), console=console, refresh_per_second=5, transient=True)
        self._generate: TaskID | None = None
        self._execute: TaskID | None = None
        self._verdicts = Counter[str]()
        self._tokens = 0
        self._started = self._last_line = time.monotonic()
        self._suite = ""

    def __enter__(self) -> TerminalWatcher:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        elif kind is None:
            self._line(always=True)

    def plan(self, suite: str, to_generate: int, to_execute: int) -> None:
        for old in self._bars.task_ids:
            self._bars.update(old, visible=False)
        self._suite, self._verdicts, self._tokens = suite, Counter(), 0
        self._started = time.monotonic()
        self._generate = (
            self._bars.add_task(f"{suite}: generate", total=to_generate, rate="", detail="") if to_generate else None
        )
        self._execute = self._bars.add_task(f"{suite}: execute", total=to_execute, rate="", detail="")
        if not self.console.is_terminal:
            self.console.print(f"{suite}: {to_generate} completions to generate, {to_execute} to execute")

    def generated(self, completion: Completion) -> None:
        self._tokens += completion.new_tokens or 0
        if self._generate is not None:
            rate = f"{self._tokens / max(time.monotonic() - self._started, 1e-9):.0f} tokens/s"
            self._bars.update(self._generate, advance=1, rate=rate)
        self._line()

    def executed(self, outcome: Outcome) -> None:
        self._verdicts[outcome.verdict] += 1
        if self._execute is not None:
            rate = f"{self._verdicts.total() / max(time.monotonic() - self._started, 1e-9):.1f} programs/s"
            self._bars.update(self._execute, advance=1, rate=rate, detail=self._tally())
        self._line()

    def note(self, text: str) -> None:
        self.console.print(Text(text, style="yellow"))

    def _tally(self) -> str:
        return " ".join(f"{name} {count}" for name, count in self._verdicts.most_common())

    def _line(self, always: bool = False) -> None:
        """Without a terminal: one plain line every ten seconds."""
        now = time.monotonic()
        if self.console.is_terminal or (not always and now - self._last_line < PLAIN_EVERY_S):
            return
        self._last_line = now
        parts = []
        for label, bar in (("generated", self._generate), ("executed", self._execute)):
            if bar is not None:
                task = self._bars.tasks[self._bars.task_ids.index(bar)]
                parts.append(f"{label} {task.completed:.0f}/{task.total:.0f} {task.fields['rate']}".strip())
        self.console.print(f"{self._suite}: {', '.join(parts)}; {self._tally()}", highlight=False)


# ---------------------------------------------------------------- tables


def terminal_table(table: Table, label: str, reported: Mapping[str, str] | None = None) -> RichTable:
    """A suite's table as Markdown has it, too: a heading a column, then lines of values, intervals and counts."""
    grid = grid_of(table, reported)
    shown = RichTable(
        title=Text(printable(f"{grid.title}: {label}" if label else grid.title)),
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    head, *body = rows_of(grid)
    for position, name in enumerate(head):
        shown.add_column(Text(printable(name)), justify="right" if position else "left", no_wrap=True)
    styles = {"value": "bold", "count": "dim", "reported": "cyan"}
    for position, row in enumerate(body):
        style = "" if grid.aside else styles.get(grid.lines[position].kind, "")
        shown.add_row(*(Text(printable(cell)) for cell in row), style=style)
    return shown


def show_run(console: Console, run: Run, reported: Mapping[str, str] | None = None) -> None:
    """Tables of every suite, then what is missing, skipped or void: nothing is left out silently."""
    for table in run.tables:
        console.print(terminal_table(table, run.model or run.name, reported))
    for line in run.remarks:
        console.print(Text(printable(line), style="yellow"))


def asked_lines(run: Run) -> list[str]:
    """How the model was asked, a line a suite: what a reader must know before comparing a number with another."""
    return [f"{name}: {asked_text(asking, run.manifest.samples)}" for name, asking in run.manifest.asking.items()]


def asked_text(asking: Mapping[str, Any], samples: int | None) -> str:
    sampling = asking.get("sampling") or {}
    heat = sampling.get("temperature")
    drawn = f"T {heat:g}, top-p {sampling.get('top_p', 1):g}" if heat else "greedy"
    limits = [f"{sampling['max_new_tokens']} new tokens"] if sampling.get("max_new_tokens") else []
    limits += [f"{sampling['max_total_tokens']} tokens in all"] if sampling.get("max_total_tokens") else []
    count = [f"{samples} samples a problem"] if samples and samples > 1 and heat else []
    return ", ".join([f"asked in {asking.get('style')} form", drawn, *count, *limits])
