"""`codecard run --suite zero_shot`: lm-eval asks and scores by itself."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.generate import locate
from codecard.model import UsageError
from codecard.pipeline import Outcome, RunPlan
from codecard.pipeline.zero_shot import Located, run_zero_shot, zero_shot_job
from codecard.report.terminal import TerminalWatcher
from codecard.store import write_text
from codecard.tasks.paths import data_dir as default_data_dir
from codecard.tasks.zero_shot import SUITE


def run_suite(
    plan: RunPlan,
    data_dir: Path | None,
    *,
    dtype: str | None = None,
    batch_size: int | None = None,
    add_bos: bool = False,
) -> None:
    """Run the ten tasks on the model that `plan` names; `plan.limit` documents of each."""
    if plan.suites != (SUITE,):
        raise UsageError(f"--suite {SUITE} is run by lm-eval: run it by itself")
    model = str(plan.model)
    if model.startswith(("openai:", "replay:")):
        raise UsageError(f"--suite {SUITE} needs likelihoods of a model that runs here, not {model}")
    data = data_dir or default_data_dir()
    if data is not None and not data.is_dir():
        raise UsageError(f"no data folder {data}")
    path, revision, name = locate(model)
    located = Located(path=path, name=name, revision=revision)
    job = zero_shot_job(located, data, limit=plan.limit, dtype=dtype, batch_size=batch_size, add_bos=add_bos)
    console = Console(stderr=True)
    with TerminalWatcher(console) as watcher:
        outcome = run_zero_shot(plan, located, job, watcher)
    show_zero_shot(Console(), name, outcome)
    write_text(plan.out / "tables.md", zero_shot_markdown(name, outcome))
    console.print(f"run folder: {plan.out}", style="dim", highlight=False)


def show_zero_shot(console: Console, label: str, outcome: Outcome) -> None:
    """One line a task, in percent."""
    table = Table(box=None, pad_edge=False)
    for name in ("task", "metric", label, "95% interval", "n"):
        table.add_column(Text(name), justify="left" if name in ("task", "metric") else "right")
    for row in _rows(outcome):
        table.add_row(*map(Text, row))
    console.print(table)
    for note in _notes(outcome):
        console.print(Text(note, style="yellow"))


def zero_shot_markdown(label: str, outcome: Outcome) -> str:
    """The same table as Markdown."""
    name = label.replace("|", "\\|").replace("<", "&lt;")
    lines = [f"| task | metric | {name} | 95% interval | n |", "|---|---|--:|--:|--:|"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(outcome)]
    notes = _notes(outcome)
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def _rows(outcome: Outcome) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for task, metrics in outcome.scores.items():
        for metric, found in metrics.items():
            value = "–" if found.value is None else f"{100 * found.value:.2f}"
            low, high = found.low, found.high
            interval = "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"
            rows.append((task.split("/")[-1], metric, value, interval, str(found.n)))
    return rows


def _notes(outcome: Outcome) -> list[str]:
    notes = [f"{task}: {count} documents were not asked" for task, count in outcome.missing.items()]
    return notes + [f"{task}: not run: {reason}" for task, reason in outcome.skipped.items()]
