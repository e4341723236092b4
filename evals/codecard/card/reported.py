"""Published numbers as facts: the exact text shown, how it was rounded, what it measures, where it stands.

`results/reported/*.toml` holds one published table a file: `[table]` (what holds for all cells),
`[[columns]]` (task, metric, number of questions), `[[rows]]` (label, model, cells in column order).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from codecard.card.markdown import Table, tokens
from codecard.card.numbers import NumberText, Rounding, parse_number
from codecard.model import UsageError

UNITS = {"fraction": Decimal(1), "percent": Decimal(100), "rating": Decimal(1)}
"""What a measured value is multiplied with to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedColumn:
    """What a column measures. `counts`: a value is a number of right answers over `questions`."""

    name: str
    task: str
    metric: str
    questions: int | None = None
    ratings: int | None = None
    average: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRow:
    """One model's cells. `quoted_from` names another publication that the row was taken from."""

    label: str
    cells: tuple[str, ...]
    model: str = ""
    own: bool = False
    rounding: Rounding
    quoted_from: str = ""
    no_weights: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTable:
    """One published table and the protocol it needs (`suite`, `ladder`)."""

    name: str
    heading: str
    suite: str
    ladder: str
    unit: str
    decimals: int
    rounding: Rounding
    """Of the table; a row may have its own."""
    source: str
    columns: tuple[ReportedColumn, ...]
    rows: tuple[ReportedRow, ...]
    front_matter: bool = False
    judge: str = ""

    @property
    def scale(self) -> Decimal:
        return UNITS[self.unit]

    @property
    def parts(self) -> tuple[ReportedColumn, ...]:
        """The columns that are measured, not averaged."""
        return tuple(column for column in self.columns if not column.average)

    def cells(self) -> Iterator[tuple[ReportedRow, ReportedColumn, str]]:
        """Every published number with its row and column, row by row."""
        for row in self.rows:
            for column, shown in zip(self.columns, row.cells, strict=True):
                yield row, column, shown

    def row(self, label: str) -> ReportedRow | None:
        """The published row with this label, marks and case aside."""
        wanted = tokens(label)
        return next((row for row in self.rows if tokens(row.label) == wanted), None)

    def column(self, name: str) -> ReportedColumn | None:
        """The column with this name, marks and case aside."""
        wanted = tokens(name)
        return next((column for column in self.columns if tokens(column.name) == wanted), None)

    def rounding_of(self, row: ReportedRow | None) -> Rounding:
        """A row's rule; the table's for a row that was not published."""
        return row.rounding if row else self.rounding

    def matches(self, table: Table) -> bool:
        """Whether a Markdown table is of this kind: all measured columns, or the one under its heading."""
        if self.front_matter:
            return False
        shown = [tokens(column) for column in table.columns]
        if not all(tokens(column.name) in shown for column in self.parts):
            return False
        return len(self.parts) > 1 or tokens(self.heading) == tokens(table.heading)


def number(shown: str) -> NumberText:
    """The number in a published text that must hold one."""
    found = parse_number(shown)
    if found is None:
        raise UsageError(f"not a number: {shown!r}")
    return found


def parse_reported(text: str, where: str) -> ReportedTable:
    """Read one table of published numbers. Raises UsageError with the file and what is wrong in it."""
    try:
        raw = tomllib.loads(text)
        return _table(raw)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise UsageError(f"{where}: not a table of published numbers: {error}") from error


def load_reported(folder: Path) -> tuple[ReportedTable, ...]:
    """All published tables in a folder, by file name."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise UsageError(f"{folder}: no published tables (*.toml) there")
    return tuple(parse_reported(file.read_text(encoding="utf-8"), str(file)) for file in files)


def find_definition(tables: tuple[ReportedTable, ...], table: Table) -> ReportedTable | None:
    """The published table whose columns a Markdown table has, if any."""
    return next((definition for definition in tables if definition.matches(table)), None)


def _table(raw: Mapping[str, Any]) -> ReportedTable:
    head = dict(raw["table"])
    rounding = Rounding(head["rounding"])
    columns = tuple(ReportedColumn(**column) for column in raw["columns"])
    rows = []
    for entry in raw["rows"]:
        typed = {"cells": tuple(entry["cells"]), "rounding": Rounding(entry.get("rounding", rounding))}
        row = ReportedRow(**{**entry, **typed})
        if len(row.cells) != len(columns):
            raise ValueError(f"row {row.label!r} has {len(row.cells)} cells for {len(columns)} columns")
        for shown in row.cells:
            number(shown)
        rows.append(row)
    table = ReportedTable(**(head | {"rounding": rounding}), columns=columns, rows=tuple(rows))
    if table.unit not in UNITS:
        raise ValueError(f"unit {table.unit!r} is none of {', '.join(UNITS)}")
    return table
