"""Write a card again with new measurements: the measured cells change, and nothing else.

A row belongs to a measurement by its model: through an explicit `LABEL=MODEL`, through the published tables,
or because the row carries the model's name. A number that fits no row is an error, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from codecard.card.audit import own_rows
from codecard.card.grid import Grid, read_grid
from codecard.card.markdown import Row, find_tables, put_texts, tokens
from codecard.card.measurements import (
    Measurement,
    average_of,
    called_like,
    find_measurement,
    same_model,
    whole_value,
    why_not_whole,
)
from codecard.card.numbers import Rounding, format_value, parse_number
from codecard.card.reported import ReportedColumn, ReportedTable, find_definition
from codecard.model import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One cell that was measured. `old` and `new` are its whole texts; they may be equal."""

    line: int
    row: str
    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A document written again, with what was measured in it and what stayed unsaid."""

    document: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = field(default=())


def put_cells(document: str, texts: Mapping[tuple[int, int], str]) -> str:
    """Put cell texts into a document's tables by (line, cell index); the layout stays."""
    places = {
        (row.line, index): (cell.start, cell.end)
        for table in find_tables(document)
        for row in table.rows
        for index, cell in enumerate(row.cells)
    }
    return put_texts(document, {places[key]: text for key, text in texts.items()})


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
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measured:
        groups.setdefault((measurement.model, measurement.name), []).append(measurement)
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
            for change, place in _row_changes(grid, definition, row, by_row.get(row.line, []), notes):
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


def show(value: Decimal, table: ReportedTable, rounding: Rounding, decimals: int | None = None) -> str:
    """The digits of a measured value (a fraction or a rating) in a table's own unit and rounding."""
    return format_value(value * table.scale, table.decimals if decimals is None else decimals, rounding)


def _row_changes(
    grid: Grid,
    definition: ReportedTable,
    row: Row,
    found: list[Measurement],
    notes: list[str],
) -> list[tuple[Change, tuple[int, int]]]:
    published = definition.row(grid.label(row))
    rounding = published.rounding if published else definition.rounding
    changed = []
    for column in definition.columns:
        value = value_for(column, definition, found)
        place = _place(grid, column)
        if place is None or place >= len(row.cells):
            continue
        cell = row.cells[place]
        if value is None:
            _note_missing(column, definition, found, grid.label(row), notes)
            continue
        shown = parse_number(cell.text)
        if shown is None:
            new = show(value, definition, rounding) + ("%" if _percent_signs(grid, place) else "")
        else:
            new = shown.dressed(show(value, definition, rounding, shown.decimals))
        change = Change(line=row.line, row=grid.label(row), column=column.name, old=cell.text, new=new)
        changed.append((change, (cell.start, cell.end)))
    return changed


def value_for(column: ReportedColumn, table: ReportedTable, found: list[Measurement]) -> Decimal | None:
    """A column's measured value; an average is taken from the unrounded values of all its parts."""
    if column.average:
        return average_of(table, found)
    return whole_value(find_measurement(found, column), column)


def _note_missing(
    column: ReportedColumn, table: ReportedTable, found: list[Measurement], label: str, notes: list[str]
) -> None:
    """Say why a cell of a measured row keeps its old text."""
    measured = [part.name for part in table.parts if value_for(part, table, found) is not None]
    measurement = find_measurement(found, column)
    if column.average and measured:
        notes.append(f"{label}: {column.name} kept, for not all of its {len(table.parts)} columns were measured")
    elif measurement is not None:
        why = why_not_whole(measurement, column)
        notes.append(f"{label}: {column.name} kept, {measurement.name} does not stand for it: {why}")


def _place(grid: Grid, column: ReportedColumn) -> int | None:
    wanted = tokens(column.name)
    names = grid.table.columns
    return next((index for index, name in enumerate(names) if tokens(name) == wanted), None)


def _percent_signs(grid: Grid, place: int) -> bool:
    numbers = [parse_number(row.cells[place].text) for row in grid.table.rows if place < len(row.cells)]
    return any(number is not None and number.percent for number in numbers)


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
