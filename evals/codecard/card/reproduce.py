"""Reported beside measured: every cell of a card gets a verdict, and says what it was judged by.

Pure: a document, the published tables, and measurements go in; cells with verdicts come out. A cell without a
whole measurement of its own task is never judged; it says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from codecard.card.frontmatter import index_entries
from codecard.card.grid import Grid, read_grid
from codecard.card.markdown import Row, find_tables, tokens
from codecard.card.measurements import (
    Measurement,
    average_of,
    find_measurement,
    same_model,
    whole_value,
    why_not_whole,
)
from codecard.card.numbers import (
    NumberText,
    Rounding,
    bounds,
    format_value,
    parse_number,
    ways_to_show,
)
from codecard.card.render import rows_of
from codecard.card.reported import ReportedColumn, ReportedRow, ReportedTable, find_definition
from codecard.model import Estimate
from codecard.stats import reproduction as ladder
from codecard.stats.reproduction import Ours, Outcome, Rung, Settings, Target, not_attempted

_SAME_JUDGE = {"gpt-4": "gpt-4-0613"}
"""What a judge's alias stood for when the card was written (March 2024)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReport:
    """One published cell beside what was measured for it, written by the cell's own rule (`measured`)."""

    table: str
    line: int
    row: str
    column: str
    reported: str
    outcome: Outcome
    measured: str = ""
    estimate: Estimate | None = None
    model: str = ""
    where: str = ""
    scale: float = 1.0
    """What a value is multiplied with to be in the table's unit."""
    suite: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTest:
    """Whether all pass@1 cells of a row agree at once (sum of z squared against chi squared)."""

    table: str
    row: str
    chi2: float
    cells: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every cell of a card with its verdict, in the card's order."""

    cells: tuple[CellReport, ...]
    row_tests: tuple[RowTest, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user decides: labels to models, whether quoted rows are judged, and the ladder's settings."""

    rows: Mapping[str, str] = field(default_factory=dict)
    measure_quoted: bool = False
    settings: Settings = field(default_factory=Settings)
    percent_format: str = ""
    """`round1` or `trunc1` instead of each row's own rule."""
    model_index: str = "keep"
    """`keep`: judged as values of the model they belong to; `replace`: as claims about the card's; `drop`: not."""


def reproduce(
    document: str, known: tuple[ReportedTable, ...], measured: Iterable[Measurement], choices: Choices
) -> Report:
    """Judge every number of a card's known tables, and of its model-index, against measurements."""
    runs: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measured:
        runs.setdefault((measurement.model, measurement.name), []).append(measurement)
    cells: list[CellReport] = []
    tests: list[RowTest] = []
    notes: list[str] = []
    for table in find_tables(document):
        definition = find_definition(known, table)
        if definition is None:
            continue
        grid = read_grid(table)
        found = _measured_rows(grid, definition, runs, choices, notes)
        for row in table.rows:
            job = _RowJob(grid, definition, row, found.get(row.line, []), choices)
            cells += job.cells()
            tests += job.tests
    if choices.model_index != "drop":
        cells += _front_matter(document, known, runs, choices)
    return Report(cells=tuple(cells), row_tests=tuple(tests), notes=tuple(dict.fromkeys(notes)))


def _measured_rows(
    grid: Grid,
    definition: ReportedTable,
    runs: Mapping[tuple[str, str], list[Measurement]],
    choices: Choices,
    notes: list[str],
) -> dict[int, list[Measurement]]:
    """Measurements by the line of their row; a stranger's run is set beside the card's own row."""
    found: dict[int, list[Measurement]] = {}
    own = {tokens(row.label) for row in definition.rows if row.own}
    for (model, name), members in runs.items():
        rows = rows_of(members[0], grid, definition, choices.rows)
        if not rows and any(m.task.split("/")[0] == definition.suite for m in members):
            rows = [row for row in grid.table.rows if tokens(grid.label(row)) in own]
            if rows:
                notes.append(f"{name} measured {model}, which is no row of the card: set beside the card's own")
        for row in rows:
            found.setdefault(row.line, []).extend(members)
    return found


@dataclass(slots=True)
class _RowJob:
    """One row of a table on its way through the ladder."""

    grid: Grid
    table: ReportedTable
    row: Row
    found: list[Measurement]
    choices: Choices
    tests: list[RowTest] = field(default_factory=list)

    @property
    def published(self) -> ReportedRow | None:
        return self.table.row(self.grid.label(self.row))

    @property
    def rounding(self) -> Rounding:
        if self.choices.percent_format and self.table.unit == "percent":
            return Rounding.TRUNCATE if self.choices.percent_format == "trunc1" else Rounding.NEAREST
        published = self.published
        return published.rounding if published else self.table.rounding

    def cells(self) -> list[CellReport]:
        shown = {column.name: number for column in self.table.columns if (number := self._shown(column))}
        outcomes = self._outcomes(shown)
        return [
            self._report(column, shown[column.name], outcomes[column.name])
            for column in self.table.columns
            if column.name in shown
        ]

    def _shown(self, column: ReportedColumn) -> NumberText | None:
        wanted = tokens(column.name)
        for index, cell in enumerate(self.row.cells):
            if tokens(self.grid.table.columns[index]) == wanted:
                return parse_number(cell.text)
        return None

    def _outcomes(self, shown: Mapping[str, NumberText]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        pending: dict[str, tuple[Target, Ours]] = {}
        reason = _row_reason(self.published, self.choices)
        for column in self.table.columns:
            if column.name not in shown:
                continue
            missing = reason or self._missing(column)
            if missing:
                outcomes[column.name] = not_attempted(missing)
            elif self.table.ladder == "pass_rate" and not column.average:
                pending[column.name] = self._pair(column, shown[column.name])
            else:
                outcomes[column.name] = self._single(column, shown[column.name])
        if pending:
            judged = ladder.pass_rates(list(pending.values()), self.choices.settings)
            outcomes |= dict(zip(pending, judged.cells, strict=True))
            self.tests.append(
                RowTest(
                    table=self.table.heading,
                    row=self.grid.label(self.row),
                    chi2=judged.chi2,
                    cells=len(pending),
                    p=judged.p,
                )
            )
        return outcomes

    def _missing(self, column: ReportedColumn) -> str:
        """Why a cell cannot be judged, or nothing."""
        if column.average:
            parts = [part.name for part in self.table.parts if self._missing(part)]
            return f"no whole measurement of {', '.join(parts)}" if parts else ""
        measurement = find_measurement(self.found, column)
        if measurement is None:
            published = self.published
            if published and published.no_weights:
                return published.no_weights
            who = published.model if published and published.model else self.grid.label(self.row)
            return f"no run of {who} measured {column.task}"
        return why_not_whole(measurement, column)

    def _single(self, column: ReportedColumn, number: NumberText) -> Outcome:
        settings = self.choices.settings
        target, ours = self._pair(column, number)
        if column.average and self.table.ladder == "pass_rate":
            parts = [self._ours(part, number) for part in self.table.parts]
            return ladder.average_rate(target, ours, parts, settings)
        if self.table.ladder == "count" and column.questions:
            published = published_count(number, column.questions, self.rounding)
            if published is None:
                return not_attempted(f"{number.digits}% is no count of {column.questions} questions")
            mine = round(ours.value * column.questions)
            return ladder.counts(published, mine, column.questions, settings)
        if self.table.ladder == "rating":
            judge = self._measurement(column).judge
            if not judge or _SAME_JUDGE.get(judge, judge) != self.table.judge:
                return ladder.other_judge(judge, self.table.judge)
            return ladder.rating(target, ours, column.ratings or 1, settings)
        return ladder.accuracy(target, ours, settings)

    def _measurement(self, column: ReportedColumn) -> Measurement:
        measurement = find_measurement(self.found, column)
        assert measurement is not None, column.name
        return measurement

    def _pair(self, column: ReportedColumn, number: NumberText) -> tuple[Target, Ours]:
        return _target(number, self.rounding, self.table.scale), self._ours(column, number)

    def _ours(self, column: ReportedColumn, number: NumberText) -> Ours:
        if column.average:
            value = average_of(self.table, self.found)
            assert value is not None, column.name
            return Ours(value=float(value), digits=self._digits(value, number), n=0)
        measurement = self._measurement(column)
        value = measurement.value
        assert value is not None, column.name
        return _measured(measurement, value, self._digits(value, number))

    def _digits(self, value: Decimal, number: NumberText) -> str:
        return format_value(value * self.table.scale, number.decimals, self.rounding)

    def _report(self, column: ReportedColumn, number: NumberText, outcome: Outcome) -> CellReport:
        measurement = find_measurement(self.found, column)
        average = average_of(self.table, self.found) if column.average else None
        value = average if column.average else whole_value(measurement, column)
        if outcome.rung is Rung.NOT_ATTEMPTED:
            value = None
        given = self.found[-1] if average is not None else measurement
        return CellReport(
            table=self.table.heading,
            line=self.row.line,
            row=self.grid.label(self.row),
            column=column.name,
            reported=number.shown,
            outcome=outcome,
            measured=self._digits(value, number) if value is not None else "",
            estimate=measurement.estimate if measurement else None,
            model=given.model if given else "",
            where=given.name if given else "",
            scale=float(self.table.scale),
            suite=self.table.suite,
        )


def _target(number: NumberText, rounding: Rounding, scale: Decimal) -> Target:
    low, high = bounds(number.value, number.decimals, rounding)
    return Target(
        value=float(number.value / scale), low=float(low / scale), high=float(high / scale), digits=number.digits
    )


def _measured(measurement: Measurement, value: Decimal, digits: str) -> Ours:
    return Ours(
        value=float(value),
        digits=digits,
        n=measurement.estimate.n,
        samples=measurement.samples,
        variance_at_one=measurement.variance_at_one,
    )


def published_count(number: NumberText, questions: int, rounding: Rounding) -> int | None:
    """The k of k/questions that a percentage stands for, by its row's rule or the other; None if none."""
    rounded, cut = ways_to_show(number.value, number.decimals, questions)
    if not rounded and not cut:
        return None
    use_cut = cut and (rounding is Rounding.TRUNCATE or not rounded)
    for k in range(questions + 1):
        exact = Decimal(100 * k) / questions
        rule = Rounding.TRUNCATE if use_cut else Rounding.NEAREST
        if abs(Decimal(format_value(exact, number.decimals, rule)) - number.value) == 0:
            return k
    return round(float(number.value) * questions / 100)


def _row_reason(published: ReportedRow | None, choices: Choices) -> str:
    if published and published.quoted_from and not choices.measure_quoted:
        return f"quoted from {published.quoted_from}, not measured by the card's authors"
    return ""


def _front_matter(
    document: str,
    known: tuple[ReportedTable, ...],
    runs: Mapping[tuple[str, str], list[Measurement]],
    choices: Choices,
) -> list[CellReport]:
    """The model-index, judged against runs of the model whose values it holds."""
    definitions = [table for table in known if table.front_matter]
    cells: list[CellReport] = []
    for entry in index_entries(document):
        number = parse_number(entry.value)
        for table in definitions:
            column = next((c for c in table.columns if tokens(c.name) == tokens(entry.title)), None)
            if column is None or number is None:
                continue
            row = next((r for r in table.rows if same_model(entry.model, r.label)), None)
            row = None if choices.model_index == "replace" else row
            holder = row.model if row and row.model else entry.model
            found = [m for (model, _), members in runs.items() if same_model(model, holder) for m in members]
            cells.append(
                _entry_report(entry.line, table, column, number, _Holder(entry.model, holder, row), found, choices)
            )
            break
    return cells


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whose card an entry stands in, and whose values it holds."""

    card: str
    model: str
    row: ReportedRow | None


def _entry_report(
    line: int,
    table: ReportedTable,
    column: ReportedColumn,
    number: NumberText,
    holder: _Holder,
    found: list[Measurement],
    choices: Choices,
) -> CellReport:
    measurement = find_measurement(found, column)
    scale = table.scale if number.value > 1 else Decimal(1)
    digits = ""
    reason = _row_reason(holder.row, choices)
    if not reason:
        reason = f"no run of {holder.model} measured {column.task}" if measurement is None else ""
    if not reason and measurement:
        reason = why_not_whole(measurement, column)
    outcome = not_attempted(reason)
    if not reason and measurement and measurement.value is not None:
        digits = format_value(measurement.value * scale, number.decimals, Rounding.NEAREST)
        pair = _target(number, Rounding.NEAREST, scale), _measured(measurement, measurement.value, digits)
        outcome = ladder.pass_rates([pair], choices.settings).cells[0]
    return CellReport(
        table=table.heading,
        line=line,
        row=holder.card,
        column=column.name,
        reported=number.shown,
        outcome=outcome,
        measured=digits,
        estimate=measurement.estimate if measurement else None,
        model=measurement.model if measurement else "",
        where=measurement.name if measurement else "",
        scale=float(scale),
        suite=table.suite,
    )
