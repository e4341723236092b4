"""The comparer that makes the card's number: sql-eval's, faults included, without pandas.

The rules are those of `eval/eval.py` of defog-ai/sql-eval at 563a9c85 (2024-03-06) run under pandas 2.2: a
result is correct if it equals any gold's exactly, or if it contains any gold's columns (`compare_df`,
`subset_df`, `normalize_table` there). Where pandas would raise, the reference counts the question as wrong,
and so does this: the error is named in the verdict. What the reference gets wrong is listed in docs/sql.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from codecard.model import GoldSql
from codecard.sql.rows import Rows

_LIKE = re.compile(r"LIKE[\s\S]*'", re.IGNORECASE)
_ASKS_ORDER = re.compile(r"\b(order|sort|arrange)\b", re.IGNORECASE)
_ORDER_BY = re.compile(r"ORDER BY[\s\S]*", re.IGNORECASE)
_FIRST_KEY = re.compile(r"(?<=ORDER BY)(.*?)(?=;|,|\)|$)", re.IGNORECASE)
_NOT_COLUMNS = frozenset(("desc", "asc", "nulls", "last", "first", "limit"))
_NULL = object()
"""Stands for None, NaN and NaT where pandas takes them for one another."""

RTOL, ATOL = 1e-5, 1e-8
"""pandas.testing's default tolerances for floats."""


@dataclass(frozen=True, slots=True)
class ReferenceVerdict:
    """`subset` is true whenever `exact` is. `error` names what pandas or the driver would raise."""

    exact: bool
    subset: bool
    error: str | None = None

    @property
    def passed(self) -> bool:
        return self.exact or self.subset


class _Raised(Exception):
    """pandas raises here; the message is the exception's type."""


def driver_text(sql: str) -> str | None:
    """The SQL that reaches the server through the reference's driver, or None where the driver raises.

    `%` is doubled from the first LIKE to the last quote after it, and psycopg2 then reads `%%` as `%` and any
    other `%` as a placeholder without a value (`TypeError`).
    """
    escaped = _LIKE.sub(lambda match: match.group(0).replace("%", "%%"), sql)
    bare = escaped.replace("%%", "")
    return None if "%" in bare else escaped.replace("%%", "%")


def compare(gold: GoldSql, gold_rows: Sequence[Rows], query: str, rows: Rows) -> ReferenceVerdict:
    """Compares `rows`, the result of `query`, with that of every alternative of `gold`, in their order."""
    try:
        found = _Frame.of(rows)
        contained = False
        for expected in map(_Frame.of, gold_rows):
            if _equal(expected, found, gold, query):
                return ReferenceVerdict(True, True)
            contained = contained or _subset(expected, found, gold)
    except _Raised as raised:
        return ReferenceVerdict(False, False, str(raised))
    return ReferenceVerdict(False, contained)


# ---------------------------------------------------------------- as much of a data frame as is needed


@dataclass(frozen=True, slots=True)
class _Column:
    """`kind` stands for the dtype: int, float, bool, time (datetime64, timedelta64) or object."""

    name: str
    kind: str
    cells: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, cells: Sequence[Any]) -> _Column:
        """The dtype that `DataFrame.from_records(..., coerce_float=True)` infers."""
        values = [cell for cell in cells if cell is not None]
        holes = len(values) < len(cells)
        kind = "object"
        if not values:
            pass
        elif all(isinstance(v, bool) for v in values):
            kind = "object" if holes else "bool"
        elif all(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in values):
            whole = all(isinstance(v, int) for v in values)
            kind = "int" if whole and not holes else "float"
        elif any(all(isinstance(v, t) for v in values) for t in (datetime, timedelta)):
            kind = "time"
        if kind == "float":
            cells = [math.nan if cell is None else float(cell) for cell in cells]
        elif kind == "time":
            cells = [math.nan if cell is None else cell for cell in cells]
        return cls(name, kind, tuple(cells))

    def take(self, rows: Sequence[int]) -> _Column:
        return _Column(self.name, self.kind, tuple(self.cells[row] for row in rows))

    def sorted(self) -> _Column:
        """`Series.sort_values()`: ascending, nulls last."""
        return self.take(sorted(range(len(self.cells)), key=_ranks(self.cells).__getitem__))


@dataclass(frozen=True, slots=True)
class _Frame:
    columns: tuple[_Column, ...]
    height: int

    @classmethod
    def of(cls, rows: Rows) -> _Frame:
        cells = list(zip(*rows.rows, strict=True)) or [()] * len(rows.columns)
        return cls(
            tuple(_Column.of(name, column) for name, column in zip(rows.columns, cells, strict=True)), len(rows.rows)
        )

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def shape(self) -> tuple[int, int]:
        return (self.height, len(self.columns))

    def column(self, name: str) -> _Column:
        """`frame[name]` where a Series is needed; a repeated name gives a frame, and its methods raise."""
        found = [column for column in self.columns if column.name == name]
        if len(found) != 1:
            raise _Raised("TypeError")
        return found[0]

    def take(self, rows: Sequence[int]) -> _Frame:
        return _Frame(tuple(column.take(rows) for column in self.columns), len(rows))

    def drop_duplicates(self) -> _Frame:
        seen: dict[tuple[object, ...], int] = {}
        try:
            for row in range(self.height):
                seen.setdefault(tuple(_known(column.cells[row]) for column in self.columns), row)
        except TypeError:
            raise _Raised("TypeError") from None
        return self.take(list(seen.values()))

    def sort_columns(self) -> _Frame:
        names = self.names
        if names == sorted(names):
            return self
        if len(set(names)) < len(names):
            raise _Raised("ValueError")
        return _Frame(tuple(sorted(self.columns, key=lambda column: column.name)), self.height)

    def sort_rows(self, by: Sequence[str], ascending: bool) -> _Frame:
        names = self.names
        if any(names.count(name) > 1 for name in by):
            raise _Raised("ValueError")
        keys = [_ranks(self.column(name).cells, ascending) for name in by]
        return self.take(sorted(range(self.height), key=lambda row: [key[row] for key in keys]))


def _known(cell: Any) -> Any:
    return _NULL if cell is None or cell != cell else cell  # noqa: PLR0124 - NaN


def _ranks(cells: Sequence[Any], ascending: bool = True) -> list[int]:
    """Each cell's place among the sorted distinct cells; nulls come last in either direction."""
    try:
        distinct: set[Any] = {cell for cell in map(_known, cells) if cell is not _NULL}
        known = sorted(distinct, reverse=not ascending)
        place = {cell: rank for rank, cell in enumerate(known)}
        return [place[cell] if (cell := _known(raw)) is not _NULL else len(place) for raw in cells]
    except TypeError:
        raise _Raised("TypeError") from None


# ---------------------------------------------------------------- the reference's rules


def _normalised(frame: _Frame, gold: GoldSql, sql: str = "") -> _Frame:
    frame = frame.drop_duplicates().sort_columns()
    if gold.category != "order_by" and not _ASKS_ORDER.search(gold.question.lower()):
        return frame.sort_rows(frame.names, ascending=True)
    clause = _ORDER_BY.search(sql)
    if clause is None:
        return frame
    first = _FIRST_KEY.findall(clause.group(0))
    words = [word.split(".")[-1] for word in (first[0].split() if first else [])]
    upper = [word.upper() for word in words]
    ascending = "ASC" in upper and "DESC" not in upper
    keys = [word.replace(",", "").replace("(", "") for word in words]
    keys = [key for key in keys if key.lower() not in _NOT_COLUMNS]
    others = [name for name in frame.names if name not in keys]
    return frame.sort_rows([key for key in keys if key in frame.names] + others, ascending)


def _equal(gold_frame: _Frame, found: _Frame, gold: GoldSql, query: str) -> bool:
    """Equal as they stand or normalised, where a result that repeats its rows loses the repetitions first."""
    if gold_frame.shape == found.shape and _same_cells(gold_frame, found):
        return True
    left, right = _normalised(gold_frame, gold, gold.source), _normalised(found, gold, query)
    return left.shape == right.shape and _same_cells(left, right)


def _same_cells(left: _Frame, right: _Frame) -> bool:
    """`(left.values == right.values).all()`: NaN differs from itself, None in a text column does not."""
    return all(
        a == b
        for one, other in zip(left.columns, right.columns, strict=True)
        for a, b in zip(one.cells, other.cells, strict=True)
    )


def _subset(gold_frame: _Frame, found: _Frame, gold: GoldSql) -> bool:
    if 0 in gold_frame.shape:
        return False
    rest, matched = list(found.columns), []
    for name in gold_frame.names:
        wanted = gold_frame.column(name).sorted()
        for candidate in rest:
            if _same_series(wanted, found.column(candidate.name).sorted()):
                matched.append(_Column(name, candidate.kind, candidate.cells))
                rest.remove(candidate)
                break
        else:
            return False
    left = _normalised(gold_frame, gold)
    right = _normalised(_Frame(tuple(matched), found.height), gold)
    return left.shape == right.shape and all(map(_same_series, left.columns, right.columns))


def _same_series(left: _Column, right: _Column) -> bool:
    """`assert_series_equal(check_dtype=False, check_names=False)` of pandas 2.2: whole numbers exactly."""
    exact = {left.kind, right.kind} & {"int", "bool"}
    same: Callable[[Any, Any], bool] = _identical if exact else _close
    return len(left.cells) == len(right.cells) and all(map(same, left.cells, right.cells))


def _identical(a: Any, b: Any) -> bool:
    return bool(_known(a) == _known(b))


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_close, a, b))
    if _identical(a, b):
        return True
    numbers = all(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in (a, b))
    return numbers and math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL)
