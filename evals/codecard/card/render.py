"""Write a card again with new measurements: the measured cells change, and nothing else.

A row belongs to a measurement by its model: through an explicit `LABEL=MODEL`, through the published tables,
or because the row carries the model's name. A number that fits no row is an error, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from codecard.card.audit import own_rows
from codecard.card.grid import Grid, read_grid
from codecard.card.markdown import Row, find_tables, put_texts, tokens
from codecard.card.measurements import (
    Measurement,
    by_run,
    called_like,
    find_measurement,
    same_model,
    value_for,
    why_not_whole,
)
from codecard.card.numbers import format_value, parse_number
from codecard.card.reported import ReportedColumn, ReportedTable, find_definition
from codecard.model import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One cell that was measured. `old` and `new` are its whole texts; they may be equal."""

    row: str
    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A document written again, with what was measured in it and what stayed unsaid."""

    document: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def render(
    document: str,
    known: tuple[ReportedTable, ...],
    measured: Iterable[Measurement] = (),
    rows: Mapping[str, str] | None = None,
    rebold: bool = False,
) -> Rendered:
    """Write `document` with the measured cells in place.

    `rows` maps a row's label to the model that is measured for it. `rebold` marks the best of each column in
    which something was measured. Raises UsageError where a measurement belongs to no row of the card.
    """
    groups = by_run(measured)
    changes: dict[tuple[int, int], str] = {}
    told: list[Change] = []
    notes: list[str] = []
    homeless = set(groups)
    for table in find_tables(document):
        definition = find_definition(known, table)
        if definition is None:
            continue
        grid = read_grid(table)
        by_row: dict[int, list[Measurement]] = {}
        for key, members in groups.items():
            for row in rows_of(members[0], grid, definition, rows or {}):
                by_row.setdefault(row.line, []).extend(members)
                homeless.discard(key)
        for row in table.rows:
            for place, change in _row_changes(grid, definition, row, by_row.get(row.line, []), notes):
                changes[place] = change.new
                told.append(change)
        if rebold:
            _rebold(grid, changes)
    if homeless:
        model, name = sorted(homeless)[0]
        raise UsageError(f"{name}: no row of the card is for {model or 'its model'}; say --row 'LABEL={model}'")
    return Rendered(document=put_texts(document, changes), changes=tuple(told), notes=tuple(notes))


def rows_of(measurement: Measurement, grid: Grid, definition: ReportedTable, rows: Mapping[str, str]) -> list[Row]:
    """The rows of a table that a run's model stands in: as told, as published, or by name."""
    labels = {row.line: grid.label(row) for row in grid.table.rows}
    told = [label for label, model in rows.items() if same_model(measurement.model, model) or model == measurement.name]
    published = [row.label for row in definition.rows if same_model(measurement.model, row.model)]
    for wanted in (told, published):
        words = {tokens(label) for label in wanted}
        if found := [row for row in grid.table.rows if tokens(labels[row.line]) in words]:
            return found
    if told:
        return []
    for name in (measurement.model, measurement.name):
        if found := [row for row in grid.table.rows if called_like(name, labels[row.line])]:
            return found
    named = own_rows(measurement.model, grid)
    return named if len(named) == 1 else []


def _row_changes(
    grid: Grid, definition: ReportedTable, row: Row, found: list[Measurement], notes: list[str]
) -> Iterator[tuple[tuple[int, int], Change]]:
    """The places of a row's measured cells and what is written there; `notes` gets why others keep their text."""
    label = grid.label(row)
    rounding = definition.rounding_of(definition.row(label))
    for column in definition.columns:
        cell = grid.table.cell(row, column.name)
        if cell is None:
            continue
        value = value_for(column, definition, found)
        if value is None:
            notes += _why_kept(column, definition, found, label)
            continue
        shown = parse_number(cell.text)
        digits = format_value(value * definition.scale, shown.decimals if shown else definition.decimals, rounding)
        percent = "%" if _percent_signs(grid, column) else ""
        new = shown.dressed(digits) if shown else digits + percent
        yield (cell.start, cell.end), Change(row=label, column=column.name, old=cell.text, new=new)


def _why_kept(column: ReportedColumn, table: ReportedTable, found: list[Measurement], label: str) -> Iterator[str]:
    """Why a cell of a measured row keeps its old text."""
    measured = any(value_for(part, table, found) is not None for part in table.parts)
    measurement = find_measurement(found, column)
    if column.average and measured:
        yield f"{label}: {column.name} kept, for not all of its {len(table.parts)} columns were measured"
    elif measurement is not None:
        why = why_not_whole(measurement, column)
        yield f"{label}: {column.name} kept, {measurement.name} does not stand for it: {why}"


def _percent_signs(grid: Grid, column: ReportedColumn) -> bool:
    cells = (grid.table.cell(row, column.name) for row in grid.table.rows)
    numbers = (parse_number(cell.text) for cell in cells if cell)
    return any(number.percent for number in numbers if number)


def _rebold(grid: Grid, changes: dict[tuple[int, int], str]) -> None:
    """Mark the best of each column in which a cell was measured, and nothing else in it."""
    for column in grid.columns:
        cells = [row.cells[column.index] for row in grid.table.rows if column.index < len(row.cells)]
        if not any((cell.start, cell.end) in changes for cell in cells):
            continue
        texts = {(cell.start, cell.end): changes.get((cell.start, cell.end), cell.text) for cell in cells}
        numbers = {place: parsed for place, text in texts.items() if (parsed := parse_number(text))}
        values = [parsed.value for parsed in numbers.values()]
        best = min(values) if column.lower_is_better else max(values)
        for place, parsed in numbers.items():
            new = parsed.with_bold(parsed.value == best)
            if new != texts[place]:
                changes[place] = new
