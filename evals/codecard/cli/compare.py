"""`codecard compare`, `codecard baseline save`, `codecard report`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.model import Comparison, Decision, UsageError
from codecard.report.pages import comparison_rows, interval_text, p_text, remarks_of, results_tables, value_text
from codecard.report.reported import reported_numbers
from codecard.report.text import printable
from codecard.score import Compared, compare
from codecard.score.paired import MARGIN, Pair, pair_up
from codecard.store.comparable import Mismatch, check_comparable
from codecard.store.outcomes import Outcomes, RunData, read_outcomes, read_run, write_baseline
from codecard.store.run_folder import write_text

BASELINES = Path("results/baselines")
GATE_EXIT = {
    Decision.NO_REGRESSION: 0,
    Decision.REGRESSION: 1,
    Decision.INCONCLUSIVE: 4,
    Decision.CANNOT_TELL: 4,
}
SHOWN_FLIPS = 12

baseline = typer.Typer(help="Baselines: small files that a gate compares with.", no_args_is_help=True)


class Format(StrEnum):
    TERMINAL = "terminal"
    MD = "md"
    HTML = "html"
    JUNIT = "junit"
    SUMMARY = "summary"
    JSON = "json"


FILES = {Format.HTML: "report.html", Format.JUNIT: "junit.xml", Format.SUMMARY: "summary.md", Format.MD: "tables.md"}


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
    if not 0 <= margin < 1:
        raise UsageError(f"--margin {margin}: a share of pass@1 from 0 to below 1, such as 0.03")
    base_path, new_path = _paths(runs, baseline_name)
    base, new = read_outcomes(base_path), read_outcomes(new_path)
    mismatches = check_comparable(base, new, tuple(ignore or ()))
    compared = compare(base.scores, new.scores, margin=margin)
    warnings = [f"The runs differ in {mismatch}." for mismatch in mismatches]
    if html is not None:
        _write_html(base_path, new_path, compared, warnings, html)
    if junit is not None:
        from codecard.report.junit import comparison_junit

        write_text(junit, comparison_junit(compared, pair_up(base.scores, new.scores), fail_wrong=fail_wrong))
    _summarise(base, new, compared, warnings, summary)
    if as_json:
        typer.echo(json.dumps(comparison_json(base, new, compared, mismatches), indent=1))
    else:
        _show(base, new, compared, warnings)
    if gate:
        raise typer.Exit(GATE_EXIT[compared.decision])


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


def _summarise(base: Outcomes, new: Outcomes, compared: Compared, warnings: Sequence[str], target: Path | None) -> None:
    from codecard.report.summary import append_step_summary, comparison_summary

    text = comparison_summary(base, new, compared, warnings)
    if target is not None:
        write_text(target, text)
    append_step_summary(text)


def comparison_json(
    base: Outcomes, new: Outcomes, compared: Compared, mismatches: Sequence[Mismatch]
) -> dict[str, Any]:
    """The contract of `compare --json`.

    Top level: decision, margin, and the primary's delta, low, high, p, detectable and flips (null where several
    suites decide); `tasks` and `pooled` have the same for each. `flips` lists the problems with both values.
    """
    pairs = {f"{pair.task}:{pair.problem}": pair for pair in pair_up(base.scores, new.scores)}
    tasks = {task: _facts(c, pairs) for task, c in compared.tasks.items()}
    pooled = {suite: _facts(c, pairs) for suite, c in compared.pooled.items()}
    primary = next(iter(pooled.values())) if len(pooled) == 1 else {}
    head = {name: primary.get(name) for name in ("delta", "low", "high", "p", "detectable", "flips")}
    return {
        "decision": compared.decision.value,
        "margin": compared.margin,
        **head,
        "base": base.name,
        "new": new.name,
        "differs": [dataclasses.asdict(mismatch) for mismatch in mismatches],
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


def _show(base: Outcomes, new: Outcomes, compared: Compared, warnings: Sequence[str]) -> None:
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


@baseline.command("save")
def baseline_save(
    run: Annotated[Path, typer.Argument(help="the run folder")],
    name: Annotated[str, typer.Argument(help="the baseline's name")],
) -> None:
    """Keep a run's scores and outcomes (no completions) as results/baselines/NAME.json."""
    data, path = read_run(run), baseline_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_baseline(data, path, name)
    typer.echo(f"{path}: {len(data.scores)} outcomes, {path.stat().st_size / 1024:.0f} KiB", err=True)


# ---------------------------------------------------------------- report


def report_command(
    run: Annotated[Path, typer.Argument(help="the run folder")],
    format: Annotated[list[Format] | None, typer.Option("--format", help="several may be given")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write; default: in the run folder")] = None,
    fail_wrong: Annotated[bool, typer.Option("--fail-wrong", help="JUnit: wrong answers are failures")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Render a run again: on the terminal, as Markdown, HTML, JUnit XML, a CI step summary, or JSON."""
    formats = list(dict.fromkeys(format or [])) or [Format.JSON if as_json else Format.TERMINAL]
    if out is not None and len([f for f in formats if f in FILES]) != 1:
        raise UsageError("--out names one file: give exactly one of the formats md, html, junit, summary")
    data = read_run(run)
    for chosen in formats:
        if chosen is Format.TERMINAL:
            _show_run(data)
        elif chosen is Format.JSON:
            typer.echo(json.dumps(_run_json(data), indent=1))
        else:
            target = out or data.path / FILES[chosen]
            write_text(target, _render(data, chosen, fail_wrong=fail_wrong))
            typer.echo(str(target))


def _render(data: RunData, chosen: Format, *, fail_wrong: bool) -> str:
    if chosen is Format.HTML:
        from codecard.report.html import render_run

        return render_run(data, reported_numbers(data))
    if chosen is Format.JUNIT:
        from codecard.report.junit import run_junit

        return run_junit(data, fail_wrong=fail_wrong)
    from codecard.report.summary import append_step_summary, run_summary

    text = run_summary(data, reported_numbers(data))
    if chosen is Format.SUMMARY:
        append_step_summary(text)
    return text


def _run_json(data: RunData) -> dict[str, Any]:
    scores = {
        task: {metric: dataclasses.asdict(estimate) for metric, estimate in found.items()}
        for task, found in data.summary.items()
    }
    return {"run": data.name, "manifest": data.manifest, "scores": scores}


def _show_run(data: RunData) -> None:
    console = Console()
    for table in results_tables(data, reported_numbers(data)):
        grid = Table(title=Text(printable(f"{data.name}: {table.title}")), title_style="bold", title_justify="left")
        for position, column in enumerate(table.columns):
            grid.add_column(column, justify="right" if position else "left")
        for row in table.rows:
            cells = [f"{c.text} ({c.interval})" if c.interval else c.text for c in row.cells]
            grid.add_row(Text(printable(row.label)), *cells, style="bold" if row.average else None)
        console.print(grid)
        console.print(Text(table.caption, style="dim"))
    for remark in remarks_of(data):
        console.print(Text(printable(remark), style="yellow"))


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("compare", help="Compare two runs, paired by problem; with --gate decide.")(compare_command)
    app.command("report", help="Render a run again.")(report_command)
    app.add_typer(baseline, name="baseline")
