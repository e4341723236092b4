"""`codecard compare` and `codecard baseline save`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard import api
from codecard.files import make_dir, write_text
from codecard.model import Comparison, Decision, UsageError, suite_of
from codecard.report.pages import comparison_rows, interval_text, p_text, value_text
from codecard.runs.comparable import Side, write_baseline
from codecard.runs.reading import read_run
from codecard.stats import Compared
from codecard.stats.paired import MARGIN, Pair, pair_up
from codecard.suites import scales
from codecard.text import printable

BASELINES = Path("results/baselines")
GATE_EXIT = {Decision.NO_REGRESSION: 0, Decision.REGRESSION: 1, Decision.INCONCLUSIVE: 4, Decision.CANNOT_TELL: 4}
SHOWN_FLIPS = 12

baseline = typer.Typer(
    help="Baselines: small files that a gate compares with.", no_args_is_help=True, add_completion=False
)


# ---------------------------------------------------------------- compare


def compare_command(
    runs: Annotated[list[Path], typer.Argument(metavar="BASE NEW", help="run folders; with --baseline only NEW")],
    gate: Annotated[bool, typer.Option("--gate", help="exit 0 no regression, 1 regression, 4 cannot tell")] = False,
    baseline_name: Annotated[str | None, typer.Option("--baseline", help="a name in results/baselines")] = None,
    margin: Annotated[float, typer.Option("--margin", help="tolerated loss of pass@1, 0 to 1")] = MARGIN,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="a field in which the runs may differ")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON on stdout")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="write the comparison's page there")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="write JUnit XML there")] = None,
    summary: Annotated[Path | None, typer.Option("--summary", help="write a Markdown summary there")] = None,
    fail_wrong: Annotated[bool, typer.Option("--fail-wrong", help="JUnit: lost problems are failures")] = False,
) -> None:
    """Compare two runs, paired by problem: differences with intervals, flips, and a decision."""
    base_path, new_path = _paths(runs, baseline_name)
    found = api.compare(base_path, new_path, margin=margin, ignore=ignore or ())
    warnings = [f"The runs differ in {mismatch}." for mismatch in found.differs]
    if html is not None:
        _write_html(base_path, new_path, found.facts, warnings, html)
    if junit is not None:
        from codecard.report.junit import comparison_junit

        write_text(junit, comparison_junit(found.facts, _pairs(found), fail_wrong=fail_wrong))
    _summarise(found, warnings, summary)
    if as_json:
        typer.echo(json.dumps(comparison_json(found), indent=1))
    else:
        _show(found, warnings)
    if gate:
        raise typer.Exit(GATE_EXIT[found.decision])


def _pairs(found: api.RunComparison) -> list[Pair]:
    suites = {suite_of(score.task) for side in (found.base, found.new) for score in side.scores}
    return pair_up(found.base.scores, found.new.scores, scales(suites))


def _paths(runs: Sequence[Path], name: str | None) -> tuple[Path, Path]:
    wanted = 1 if name else 2
    if len(runs) != wanted:
        usage = "compare --baseline NAME NEW" if name else "compare BASE NEW"
        raise UsageError(f"{len(runs)} runs given; the usage is: codecard {usage}")
    return (baseline_path(name), runs[0]) if name else (runs[0], runs[1])


def _write_html(base: Path, new: Path, compared: Compared, warnings: Sequence[str], target: Path) -> None:
    from codecard.report.html import render_comparison

    for path in (base, new):
        if path.is_file():
            raise UsageError(f"--html needs two run folders; {path} is a baseline and holds no programs")
    write_text(target, render_comparison(read_run(base), read_run(new), compared, warnings))


def _summarise(found: api.RunComparison, warnings: Sequence[str], target: Path | None) -> None:
    from codecard.report.summary import append_step_summary, comparison_summary

    text = comparison_summary(found.base, found.new, found.facts, warnings)
    if target is not None:
        write_text(target, text)
    append_step_summary(text)


def comparison_json(found: api.RunComparison) -> dict[str, Any]:
    """The contract of `compare --json`.

    Top level: decision, margin, and the primary's delta, low, high, p, detectable and flips (null where several
    suites decide); `tasks` and `pooled` have the same for each. `flips` lists the problems with both values.
    """
    pairs = {f"{pair.task}:{pair.problem}": pair for pair in _pairs(found)}
    tasks = {task: _facts(c, pairs) for task, c in found.tasks.items()}
    pooled = {suite: _facts(c, pairs) for suite, c in found.pooled.items()}
    primary = next(iter(pooled.values())) if len(pooled) == 1 else {}
    head = {name: primary.get(name) for name in ("delta", "low", "high", "p", "detectable", "flips")}
    return {
        "decision": found.decision.value,
        "margin": found.facts.margin,
        **head,
        "base": found.base.name,
        "new": found.new.name,
        "differs": [dataclasses.asdict(mismatch) for mismatch in found.differs],
        "tasks": tasks,
        "pooled": pooled,
    }


def _facts(comparison: Comparison, pairs: dict[str, Pair]) -> dict[str, Any]:
    facts = dataclasses.asdict(comparison)
    flips = {
        side: [
            {"task": pair.task, "problem": pair.problem, "base": pair.base, "new": pair.new}
            for pair in (pairs[name] for name in facts.pop(side))
        ]
        for side in ("gained", "lost")
    }
    return {**facts, "decision": str(comparison.decision), "flips": flips}


def _shown_difference(task: str, c: Comparison) -> tuple[str, ...]:
    base, new = (value_text(value, task).removesuffix(" %") for value in (c.base, c.new))
    interval = f" ({interval_text(c.low, c.high, task, signed=True)})" if c.low is not None else ""
    delta = f"{value_text(c.delta, task, signed=True)}{interval}"
    return (f"{base} → {new}", delta, p_text(c.p_holm), f"+{len(c.gained)} −{len(c.lost)}", str(c.decision))


TONES = {Decision.REGRESSION: "bold red", Decision.NO_REGRESSION: "bold green"}


def _show(found: api.RunComparison, warnings: Sequence[str]) -> None:
    base: Side = found.base
    new: Side = found.new
    compared: Compared = found.facts
    console = Console()
    grid = Table(title=Text(printable(f"{new.name} against {base.name}")), box=box.SIMPLE_HEAD, pad_edge=False)
    grid.title_justify, grid.padding = "left", (0, 1)
    for position, column in enumerate(("Task", "Base → new", "Difference", "Holm p", "Flips", "Decision")):
        grid.add_column(column, justify="right" if position else "left", no_wrap=True)
    alone = len(compared.pooled) == 1
    for task, comparison in comparison_rows(compared).items():
        label = task.split("/", 1)[1] if alone else task
        style = "bold" if task.endswith("/pooled") else None
        grid.add_row(Text(printable(label)), *_shown_difference(task, comparison), style=style)
    console.print(grid)
    for suite, c in compared.pooled.items():
        if c.delta is not None:
            detectable = "–" if c.detectable is None else value_text(c.detectable, suite).removesuffix(" %")
            console.print(
                f"{suite}: p {p_text(c.p)}, exact p {p_text(c.p_exact)}, detectable {detectable}; {c.n} pairs in "
                f"{c.clusters} clusters, {c.void} void ({c.method})", highlight=False, style="dim",
            )  # fmt: skip
    for title in ("lost", "gained"):
        flips = [flip for c in compared.pooled.values() for flip in getattr(c, title)]
        if flips:
            more = f" and {len(flips) - SHOWN_FLIPS} more" if len(flips) > SHOWN_FLIPS else ""
            console.print(Text(printable(f"{title} ({len(flips)}): {', '.join(flips[:SHOWN_FLIPS])}{more}")))
    for warning in warnings:
        console.print(Text(printable(warning), style="yellow"))
    verdict = f"{compared.decision.value} (margin {100 * compared.margin:g} points)"
    console.print(Text(verdict, style=TONES.get(compared.decision, "bold yellow")))
    if compared.decision is Decision.INCONCLUSIVE:
        console.print(Text("more samples a problem, more languages, or a wider --margin would decide"))


# ---------------------------------------------------------------- baseline


def baseline_path(name: str) -> Path:
    """The file of a baseline. A name is letters, digits, dots, dashes and underscores."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"baseline name {name!r}: letters, digits, dots, dashes and underscores only")
    return BASELINES / f"{name}.json"


@baseline.callback()
def _group() -> None:
    """Baselines: small files that a gate compares with."""


@baseline.command("save")
def baseline_save(
    run: Annotated[Path, typer.Argument(help="the run folder")],
    name: Annotated[str, typer.Argument(help="the baseline's name")],
) -> None:
    """Keep a run's scores and outcomes (no completions) as results/baselines/NAME.json."""
    data, path = read_run(run), baseline_path(name)
    make_dir(path.parent)
    write_baseline(data, path, name)
    typer.echo(f"{path}: {len(data.samples)} outcomes, {path.stat().st_size / 1024:.0f} KiB", err=True)
