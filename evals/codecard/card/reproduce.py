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
from codecard.card.markdown import find_tables, tokens
from codecard.card.measurements import Measurement, by_run, find_measurement, same_model, value_for, why_not_whole
from codecard.card.numbers import NumberText, Rounding, bounds, counts_shown, format_value, parse_number
from codecard.card.render import rows_of
from codecard.card.reported import ReportedColumn, ReportedRow, ReportedTable, find_definition
from codecard.model import Estimate, suite_of
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
    runs = by_run(measured)
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
            published = definition.row(grid.label(row))
            cells_by_column = ((column, table.cell(row, column.name)) for column in definition.columns)
            numbers = ((column, parse_number(cell.text)) for column, cell in cells_by_column if cell)
            job = _RowJob(
                table=definition,
                line=row.line,
                label=grid.label(row),
                published=published,
                shown={column: number for column, number in numbers if number},
                found=found.get(row.line, []),
                rounding=_rounding(definition, published, choices),
                scale=definition.scale,
                choices=choices,
            )
            reports, row_tests = job.judge()
            cells += reports
            tests += row_tests
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
        if not rows and any(suite_of(m.task) == definition.suite for m in members):
            rows = [row for row in grid.table.rows if tokens(grid.label(row)) in own]
            if rows:
                notes.append(f"{name} measured {model}, which is no row of the card: set beside the card's own")
        for row in rows:
            found.setdefault(row.line, []).extend(members)
    return found


def _rounding(table: ReportedTable, published: ReportedRow | None, choices: Choices) -> Rounding:
    if choices.percent_format and table.unit == "percent":
        return Rounding.TRUNCATE if choices.percent_format == "trunc1" else Rounding.NEAREST
    return table.rounding_of(published)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowJob:
    """Numbers shown for one model, on their way through the ladder: a table's row, or an entry of the model-index."""

    table: ReportedTable
    line: int
    label: str
    published: ReportedRow | None
    shown: Mapping[ReportedColumn, NumberText]
    found: list[Measurement]
    rounding: Rounding
    scale: Decimal
    choices: Choices

    def judge(self) -> tuple[list[CellReport], list[RowTest]]:
        """A report of each number, and the test of all pass rates, which are judged together."""
        outcomes: dict[ReportedColumn, Outcome] = {}
        rates: list[ReportedColumn] = []
        for column in self.shown:
            if missing := self._missing(column):
                outcomes[column] = not_attempted(missing)
            elif self.table.ladder == "pass_rate" and not column.average:
                rates.append(column)
            else:
                outcomes[column] = self._single(column)
        tests: list[RowTest] = []
        if rates:
            judged = ladder.pass_rates([(self._target(c), self._ours(c)) for c in rates], self.choices.settings)
            outcomes |= dict(zip(rates, judged.cells, strict=True))
            test = RowTest(table=self.table.heading, row=self.label, chi2=judged.chi2, cells=len(rates), p=judged.p)
            tests.append(test)
        return [self._report(column, outcomes[column]) for column in self.shown], tests

    def _missing(self, column: ReportedColumn) -> str:
        """Why a cell cannot be judged, or nothing."""
        published = self.published
        if published and published.quoted_from and not self.choices.measure_quoted:
            return f"quoted from {published.quoted_from}, not measured by the card's authors"
        if column.average:
            parts = [part.name for part in self.table.parts if self._missing(part)]
            return f"no whole measurement of {', '.join(parts)}" if parts else ""
        measurement = find_measurement(self.found, column)
        if measurement is not None:
            return why_not_whole(measurement, column)
        if published and published.no_weights:
            return published.no_weights
        who = published.model if published and published.model else self.label
        return f"no run of {who} measured {column.task}"

    def _single(self, column: ReportedColumn) -> Outcome:
        settings, number = self.choices.settings, self.shown[column]
        target, ours = self._target(column), self._ours(column)
        if column.average and self.table.ladder == "pass_rate":
            parts = [self._ours(part, shown=column) for part in self.table.parts]
            return ladder.average_rate(target, ours, parts, settings)
        if self.table.ladder == "count" and column.questions:
            rounded, cut = counts_shown(number.value, number.decimals, column.questions)
            by_rule = (cut, rounded) if self.rounding is Rounding.TRUNCATE else (rounded, cut)
            published = next((count for count in by_rule if count is not None), None)
            if published is None:
                return not_attempted(f"{number.digits}% is no count of {column.questions} questions")
            return ladder.counts(published, round(ours.value * column.questions), column.questions, settings)
        if self.table.ladder == "rating":
            measurement = find_measurement(self.found, column)
            judge = measurement.judge if measurement else ""
            if not judge or _SAME_JUDGE.get(judge, judge) != self.table.judge:
                return ladder.other_judge(judge, self.table.judge)
            return ladder.rating(target, ours, column.ratings or 1, settings)
        return ladder.accuracy(target, ours, settings)

    def _target(self, column: ReportedColumn) -> Target:
        number = self.shown[column]
        values = (number.value, *bounds(number.value, number.decimals, self.rounding))
        value, low, high = (float(value / self.scale) for value in values)
        return Target(value=value, low=low, high=high, digits=number.digits)

    def _ours(self, column: ReportedColumn, shown: ReportedColumn | None = None) -> Ours:
        """What was measured for a column, written like the number in it (or in `shown`)."""
        value = value_for(column, self.table, self.found)
        assert value is not None, column.name
        digits = self._digits(value, self.shown[shown or column])
        measurement = find_measurement(self.found, column)
        if column.average or measurement is None:
            return Ours(value=float(value), digits=digits, n=0)
        return Ours(
            value=float(value),
            digits=digits,
            n=measurement.estimate.n,
            samples=measurement.samples,
            variance_at_one=measurement.variance_at_one,
        )

    def _digits(self, value: Decimal, number: NumberText) -> str:
        return format_value(value * self.scale, number.decimals, self.rounding)

    def _report(self, column: ReportedColumn, outcome: Outcome) -> CellReport:
        number, measurement = self.shown[column], find_measurement(self.found, column)
        value = value_for(column, self.table, self.found)
        given = self.found[-1] if column.average and value is not None else measurement
        if outcome.rung is Rung.NOT_ATTEMPTED:
            value = None
        return CellReport(
            table=self.table.heading,
            line=self.line,
            row=self.label,
            column=column.name,
            reported=number.shown,
            outcome=outcome,
            measured=self._digits(value, number) if value is not None else "",
            estimate=measurement.estimate if measurement else None,
            model=given.model if given else "",
            where=given.name if given else "",
            scale=float(self.scale),
        )


def _front_matter(
    document: str, known: tuple[ReportedTable, ...], runs: Mapping[tuple[str, str], list[Measurement]], choices: Choices
) -> list[CellReport]:
    """The model-index, judged against runs of the model whose values it holds."""
    cells: list[CellReport] = []
    for entry in index_entries(document):
        number = parse_number(entry.value)
        table = next((t for t in known if t.front_matter and t.column(entry.title)), None)
        column = table.column(entry.title) if table else None
        if number is None or table is None or column is None:
            continue
        rows = [row for row in table.rows if same_model(entry.model, row.label)]
        row = rows[0] if rows and choices.model_index != "replace" else None
        holder = row.model if row and row.model else entry.model
        job = _RowJob(
            table=table,
            line=entry.line,
            label=entry.model,
            published=row,
            shown={column: number},
            found=[m for (model, _), members in runs.items() if same_model(model, holder) for m in members],
            rounding=Rounding.NEAREST,
            scale=table.scale if number.value > 1 else Decimal(1),
            choices=choices,
        )
        cells += job.judge()[0]
    return cells
