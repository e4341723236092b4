"""What the terminal shows: the progress of both stages, and the tables in the card's own shape."""

from __future__ import annotations

import time
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from codecard.model import Completion, Estimate
from codecard.pipeline import Outcome, Watcher
from codecard.sandbox.verdicts import publishable
from codecard.tasks.definitions import CODE_SUITES, code_tasks

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
        self._verdicts: dict[str, int] = {}
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
        for old in (self._generate, self._execute):
            if old is not None:
                self._bars.update(old, visible=False)
        self._suite, self._verdicts, self._tokens = suite, {}, 0
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

    def executed(self, row: dict[str, object]) -> None:
        verdict = str(row["verdict"])
        self._verdicts[verdict] = self._verdicts.get(verdict, 0) + 1
        if self._execute is not None:
            done = sum(self._verdicts.values())
            rate = f"{done / max(time.monotonic() - self._started, 1e-9):.1f} programs/s"
            self._bars.update(self._execute, advance=1, rate=rate, detail=self._tally())
        self._line()

    def note(self, text: str) -> None:
        self.console.print(Text(text, style="yellow"))

    def _tally(self) -> str:
        return " ".join(f"{name} {count}" for name, count in sorted(self._verdicts.items(), key=lambda v: -v[1]))

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


def shown(estimate: Estimate | None) -> str:
    """A value as the card shows it: two decimals; a dash where there is none."""
    return "–" if estimate is None or estimate.value is None else f"{estimate.value:.2f}"


def interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.2f}–{estimate.high:.2f}".replace("0.", ".")


def multipl_table(suite: str, label: str, outcome: Outcome, metric: str = "pass@1") -> Table:
    """Avg, Python, C++, JavaScript, Java, PHP, Rust: value, 95 % interval, problems behind it. 80 columns wide."""
    title = "Multi-PL (MultiPL-E HumanEval)" if suite == "multipl_e" else "Starter problems"
    table = Table(
        title=f"{title}: {label}",
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    table.add_column("", no_wrap=True)
    values, intervals, counts = [], [], []
    for name, task in _columns(suite):
        table.add_column(name, justify="right", no_wrap=True)
        skipped = task in outcome.skipped
        estimate = outcome.scores.get(task, {}).get(metric)
        values.append("skipped" if skipped else shown(estimate))
        intervals.append("" if skipped else interval(estimate))
        counts.append("" if skipped else _count(estimate))
    table.add_row(metric, *values, style="bold")
    table.add_row("95 %", *intervals)
    table.add_row("problems", *counts, style="dim")
    return table


def _columns(suite: str) -> list[tuple[str, str]]:
    return [("Avg", f"{suite}/average"), *((t.title, t.task) for t in code_tasks(suite))]


def _count(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.n}" + (f" +{estimate.void} void" if estimate.void else "")


def markdown_table(suite: str, label: str, outcome: Outcome, metric: str = "pass@1") -> str:
    """The same table as Markdown."""
    columns = _columns(suite)
    estimates = [outcome.scores.get(task, {}).get(metric) for _, task in columns]
    pairs = zip(columns, estimates, strict=True)
    values = ["skipped" if task in outcome.skipped else shown(e) for (_, task), e in pairs]
    rows = [
        ["Model", *(title for title, _ in columns)],
        ["---"] * (len(columns) + 1),
        [label, *values],
        ["95 % interval", *(interval(e) for e in estimates)],
        ["problems", *(_count(e) for e in estimates)],
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def show_outcome(console: Console, label: str, suites: tuple[str, ...], outcome: Outcome) -> None:
    """Tables of every suite, then what is missing, skipped or void: nothing is left out silently."""
    for suite in suites:
        if suite in CODE_SUITES:
            console.print(multipl_table(suite, label, outcome))
    for line in remarks(outcome):
        console.print(Text(line, style="yellow"))


def remarks(outcome: Outcome) -> list[str]:
    lines = [f"skipped {task}: {reason}" for task, reason in outcome.skipped.items()]
    if outcome.missing:
        parts = ", ".join(f"{task} {count}" for task, count in outcome.missing.items())
        lines.append(f"problems of the suite not in this run: {parts}")
    if outcome.voids:
        lines.append(
            f"void (a failure of the machine, not of the model; in no score): {outcome.voids} of {outcome.executed}"
        )
        fine, reason = publishable(outcome.executed, outcome.voids)
        lines += [] if fine else [reason]
    return lines
