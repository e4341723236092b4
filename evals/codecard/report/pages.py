"""What a page says, as plain records: facts, tables and plots of a run or of a comparison."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codecard.model import Comparison, Completion, Decision, Outcome, Table, Unit, suite_of
from codecard.report import plots
from codecard.report.facts import ELSEWHERE, facts_of
from codecard.runs.reading import Run
from codecard.stats import Compared
from codecard.suites import known_suite
from codecard.tables import grid_of, rows_of

DASH = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellText:
    text: str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    label: str
    cells: tuple[CellText, ...]
    average: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing, and its figures as a table: `numbers` are a heading and rows."""

    title: str
    svg: str
    caption: str
    numbers: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    title: str
    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[PageTable, ...]
    plots: tuple[Plot, ...]
    manifests: tuple[tuple[str, str], ...]
    filter: str
    banner: Banner | None = None
    warnings: tuple[str, ...] = ()


# ---------------------------------------------------------------- numbers as text


def _unit(task: str) -> Unit:
    """Differences are in points of a share, or in a rating's own scale."""
    rated = known_suite(suite_of(task)).scale is not None
    return Unit(digits=2) if rated else Unit(scale=100, digits=1, sign=" %")


def value_text(value: float | None, task: str, *, signed: bool = False) -> str:
    """`52.2 %` for shares, `5.80` for ratings; with a sign for differences (in points)."""
    if value is None:
        return "void"
    unit = _unit(task)
    if signed:
        return f"{unit.scale * value:+.{unit.digits}f}".replace("-", "−")
    return unit.text(value).replace("-", "−")


def interval_text(low: float | None, high: float | None, task: str, *, signed: bool = False) -> str:
    """`44.5 – 59.8`."""
    if low is None or high is None:
        return ""
    ends = (value_text(end, task, signed=signed).removesuffix(" %") for end in (low, high))
    return f"{', ' if signed else '–'}".join(ends)


def p_text(p: float | None) -> str:
    if p is None:
        return DASH
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


# ---------------------------------------------------------------- a run


def run_page(run: Run, reported: Mapping[str, str]) -> Page:
    """`reported` maps task (or `suite/average`) to the published text of its number."""
    return Page(
        title=run.model or run.name,
        subtitle=f"Run {run.name}" if run.model else ELSEWHERE,
        facts=facts_of(run),
        tables=tuple(_page_table(table, reported) for table in run.tables),
        plots=tuple(plot for suite in run.suites for plot in _suite_plots(run, suite, reported)),
        manifests=(_manifest(run),),
        filter="Verdict",
        warnings=tuple(run.remarks),
    )


def _manifest(run: Run) -> tuple[str, str]:
    return run.name, json.dumps(run.manifest.row(), indent=1, ensure_ascii=False)


def _page_table(table: Table, reported: Mapping[str, str]) -> PageTable:
    """A table as the terminal and tables.md have it."""
    grid = grid_of(table, reported)
    head, *body = rows_of(grid)
    shown = {cell.estimate.method for _, cells in table.rows for cell in cells if cell.estimate is not None}
    rows = [
        TableRow(
            label=row[0],
            cells=tuple(CellText(text=cell, tone="void" if "void" in cell else "") for cell in row[1:]),
            average=not grid.aside and grid.lines[place].kind == "value",
        )
        for place, row in enumerate(body)
    ]
    caption = f"With 95 % intervals ({'; '.join(sorted(shown))})." if shown else ""
    return PageTable(title=table.title, caption=caption, columns=tuple(head), rows=tuple(rows))


def _suite_plots(run: Run, suite: str, reported: Mapping[str, str]) -> Iterable[Plot]:
    """Each task's first metric with its interval, then verdicts, times and token rates."""
    members = {task: next(iter(found.items())) for task, found in run.estimates.items() if suite_of(task) == suite}
    bars = [
        plots.Bar(
            label=task.split("/", 1)[1],
            value=estimate.value,
            low=estimate.value if estimate.low is None else estimate.low,
            high=estimate.value if estimate.high is None else estimate.high,
            reported=_number(reported.get(task)),
        )
        for task, (_, estimate) in members.items()
        if estimate.value is not None
    ]
    if bars:
        note = "Diamonds: reported." if any(bar.reported is not None for bar in bars) else ""
        metric = " / ".join(dict.fromkeys(name for name, _ in members.values()))
        svg = plots.interval_plot(bars, metric, f"{suite}-values")
        yield Plot(title=f"{suite}: {metric}", svg=svg, caption=f"Bars: 95 % interval across problems. {note}")
    order = {task: place for place, task in enumerate(members)}
    rows = [outcome for outcome in run.outcomes.values() if suite_of(outcome.task) == suite]
    rows.sort(key=lambda outcome: order.get(outcome.task, len(order)))
    turns = [turn for history in run.histories.values() for turn in history]
    written = [turn for turn in turns if suite_of(turn.task) == suite]
    written.sort(key=lambda turn: order.get(turn.task, len(order)))
    yield from _verdict_plot(suite, rows)
    yield from _time_plots(suite, rows, written)


def _number(text: str | None) -> float | None:
    """A published text as a share: `0.52`, `52.2%`; None where it is no number."""
    try:
        return None if text is None else float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None


def _verdict_plot(suite: str, rows: Sequence[Outcome]) -> Iterable[Plot]:
    counts: dict[str, Counter[str]] = {}
    for outcome in rows:
        if outcome.verdict in plots.VERDICTS:
            counts.setdefault(outcome.task.split("/", 1)[1], Counter())[outcome.verdict] += 1
    if not counts:
        return
    shares = {t: {v: c / found.total() for v, c in found.items()} for t, found in counts.items()}
    present = [v for v in plots.VERDICTS if any(v in found for found in counts.values())]
    head = ("Task", *(v.replace("_", " ") for v in present))
    figures = [(t, *(str(found[v]) for v in present)) for t, found in counts.items()]
    svg = plots.verdict_plot(shares, f"{suite}-verdicts")
    yield Plot(title=f"{suite}: verdicts", svg=svg, caption="Share of executions.", numbers=(head, *figures))


def _time_plots(suite: str, rows: Sequence[Outcome], written: Sequence[Completion]) -> Iterable[Plot]:
    series: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, list[float]]] = {}

    def add(where: dict[str, dict[str, list[float]]], name: str, task: str, value: object) -> None:
        if isinstance(value, (int, float)) and value > 0:
            where.setdefault(name, {}).setdefault(task.split("/", 1)[1], []).append(float(value))

    for completion in written:
        add(series, "generation", completion.task, completion.seconds)
        if completion.new_tokens and completion.seconds:
            add(rates, "tokens/s", completion.task, completion.new_tokens / completion.seconds)
    for outcome in rows:
        add(series, "execution, wall", outcome.task, outcome.facts.get("wall_s"))
        add(series, "execution, CPU", outcome.task, outcome.facts.get("cpu_s"))
    note = "Median of the samples, with the middle 80 %."
    if series:
        spreads = _spreads(series)
        axis = "seconds" if len(series) > 1 else f"{next(iter(series))}: seconds"
        svg = plots.spread_plot(spreads, axis, f"{suite}-times", log=True)
        yield Plot(title=f"{suite}: time per stage", svg=svg, caption=note, numbers=_figures(spreads, "s"))
    if rates:
        spreads = _spreads(rates)
        svg = plots.spread_plot(spreads, "new tokens per second of a completion", f"{suite}-rates")
        yield Plot(title=f"{suite}: token rate", svg=svg, caption=note, numbers=_figures(spreads, "/s"))


def _spreads(series: Mapping[str, Mapping[str, Sequence[float]]]) -> list[plots.Spread]:
    found = []
    for name, tasks in series.items():
        for task, values in tasks.items():
            low, median, high = np.percentile(np.array(values), [10, 50, 90])
            found.append(plots.Spread(label=task, series=name, median=float(median), low=float(low), high=float(high)))
    return found


def _figures(spreads: Sequence[plots.Spread], unit: str) -> tuple[tuple[str, ...], ...]:
    rows = [(f"{s.label}, {s.series}", f"{s.median:.3g}", f"{s.low:.3g}", f"{s.high:.3g}") for s in spreads]
    return ("Task", f"median {unit}", "10 %", "90 %"), *rows


# ---------------------------------------------------------------- a comparison

DECISIONS = {
    Decision.REGRESSION: ("bad", "The new run is worse, beyond noise, and the loss may exceed the margin."),
    Decision.NO_REGRESSION: ("good", "A loss larger than the margin is ruled out."),
    Decision.INCONCLUSIVE: ("", "The data can neither rule out a loss beyond the margin nor show one."),
    Decision.CANNOT_TELL: ("", "Void or missing samples could turn the decision."),
}


def comparison_page(base: Run, new: Run, compared: Compared, warnings: Sequence[str]) -> Page:
    tone, meaning = DECISIONS[compared.decision]
    margin = f"{100 * compared.margin:g} points"
    return Page(
        title=f"{new.name} against {base.name}",
        subtitle=f"{new.model or ELSEWHERE} against {base.model or ELSEWHERE}, paired by problem",
        facts=tuple(
            (f"{name}, {side}", value)
            for side, run in (("base", base), ("new", new))
            for name, value in facts_of(run)
            if name.startswith(("Model", "Profile", "Samples a problem", "Asked", "Void"))
        ),
        tables=(comparison_table(compared),),
        plots=tuple(_difference_plots(comparison_rows(compared), compared.margin)),
        manifests=(_manifest(base), _manifest(new)),
        filter="Change",
        banner=Banner(title=compared.decision.value.capitalize(), text=f"{meaning} Margin: {margin}.", tone=tone),
        warnings=tuple(warnings),
    )


def comparison_rows(compared: Compared) -> dict[str, Comparison]:
    """Tasks, then `<suite>/pooled`."""
    return {**compared.tasks, **{f"{suite}/pooled": c for suite, c in compared.pooled.items()}}


def comparison_table(compared: Compared) -> PageTable:
    rows = comparison_rows(compared)
    table = tuple(
        TableRow(label=task, cells=tuple(_difference_cells(task, c)), average=task.endswith("/pooled"))
        for task, c in rows.items()
    )
    methods = sorted({c.method for c in rows.values()})
    return PageTable(
        title="Differences",
        caption=(
            "New minus base in points of pass@1 (ratings: in their own scale), with 95 % intervals "
            f"({'; '.join(methods)}). Holm: adjusted over the rows of a kind. Detectable: the true change "
            "found in four comparisons of five."
        ),
        columns=(
            "Task", "Base", "New", "Difference", "p", "Exact p", "Holm p", "Detectable",
            "Gained", "Lost", "Pairs", "Void", "Decision",
        ),
        rows=table,
    )  # fmt: skip


def _difference_cells(task: str, c: Comparison) -> Iterable[CellText]:
    tone = {Decision.REGRESSION.value: "bad", Decision.NO_REGRESSION.value: "good"}.get(c.decision, "void")
    yield CellText(text=value_text(c.base, task))
    yield CellText(text=value_text(c.new, task))
    yield CellText(
        text=value_text(c.delta, task, signed=True), interval=interval_text(c.low, c.high, task, signed=True)
    )
    yield from (CellText(text=p_text(p)) for p in (c.p, c.p_exact, c.p_holm))
    yield CellText(text=DASH if c.detectable is None else value_text(c.detectable, task).removesuffix(" %"))
    yield from (CellText(text=str(count)) for count in (len(c.gained), len(c.lost), c.n, c.void))
    yield CellText(text=c.decision, tone=tone if c.decision else "")


def _difference_plots(rows: Mapping[str, Comparison], margin: float) -> Iterable[Plot]:
    bars = [
        plots.Bar(label=task, value=c.delta, low=c.low, high=c.high)
        for task, c in rows.items()
        if c.delta is not None
        and c.low is not None
        and c.high is not None
        and known_suite(suite_of(task)).scale is None
    ]
    if bars:
        svg = plots.difference_plot(bars, margin, "differences")
        yield Plot(
            title="Differences of pass@1",
            svg=svg,
            caption="Bars: 95 % interval. Dashed: the margin. Triangles point to gain (right) or loss (left).",
        )
