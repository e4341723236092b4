"""The comparer to trust: what a careful reader would accept as the gold's answer, and nothing else.

Accepted: other column names, another column order, further columns, another order of rows where none was
asked for or where they tie on the gold's sort keys, numbers of another type or fractions within the
reference's own tolerance, a date for its midnight. Not accepted: other rows, rows more or fewer times, an
empty or constant result in place of another shape, NULL for a value, rounded or scaled numbers, an order that
was asked for and is not there.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from codecard.sql.reference import ATOL, RTOL
from codecard.sql.rows import Rows

MAPPINGS = 2000
"""Column mappings tried before giving up; only results with many columns of equal content have more."""

Cell = tuple[str, Any]
"""A kind and a value; cells of different kinds are never equal."""


@dataclass(frozen=True, slots=True)
class Gold:
    """One accepted result. `groups`: lengths of the runs of rows that tie on the gold's sort keys, in order.

    None where the gold sorts nothing; then no order is held against a query.
    """

    rows: Rows
    groups: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class StrictVerdict:
    passed: bool
    why: str = ""


def compare(golds: Sequence[Gold], rows: Rows, ordered: bool) -> StrictVerdict:
    """Passes if `rows` is any of `golds`; the reason given is that of the last one."""
    verdict = StrictVerdict(False, "no gold result")
    found = [_column(rows, at) for at in range(len(rows.columns))]
    for gold in golds:
        verdict = _compare_one(gold, rows, found, ordered)
        if verdict.passed:
            break
    return verdict


def _compare_one(gold: Gold, rows: Rows, found: list[list[Cell]], ordered: bool) -> StrictVerdict:
    wanted, height = gold.rows, len(gold.rows.rows)
    if len(rows.rows) != height:
        return StrictVerdict(False, f"{len(rows.rows)} rows where {height} are right")
    if len(rows.columns) < len(wanted.columns):
        return StrictVerdict(False, f"{len(rows.columns)} columns where {len(wanted.columns)} are needed")
    if not height:
        same = len(rows.columns) == len(wanted.columns)
        return StrictVerdict(same, "" if same else "another number of columns in an empty result")
    target = [_column(wanted, at) for at in range(len(wanted.columns))]
    choices = _candidates(wanted.columns, rows.columns, target, found)
    missing = [wanted.columns[at] for at, options in enumerate(choices) if not options]
    if missing:
        return StrictVerdict(False, f"no column holds the values of {', '.join(missing)}")
    expected = list(zip(*target, strict=True))
    groups = gold.groups if ordered else None
    why = "the rows differ"
    for mapping in _mappings(choices):
        answer = list(zip(*(found[at] for at in mapping), strict=True))
        if not _same_bag(expected, answer):
            continue
        if groups is None or _same_order(expected, answer, groups):
            return StrictVerdict(True)
        why = "the order that was asked for is not there"
    return StrictVerdict(False, why)


# ---------------------------------------------------------------- columns


def _candidates(
    gold_names: Sequence[str], names: Sequence[str], target: list[list[Cell]], found: list[list[Cell]]
) -> list[list[int]]:
    """For each gold column the columns that hold the same bag of values, the likelier first.

    Where every gold name appears, once on each side, the names decide: a query that labels its columns is
    held to its labels.
    """
    labelled = len(set(gold_names)) == len(gold_names) and all(names.count(name) == 1 for name in gold_names)
    choices = []
    for place, (name, column) in enumerate(zip(gold_names, target, strict=True)):
        order = sorted(range(len(found)), key=lambda at: (names[at] != name, at != place))
        likely = order[:1] if labelled else order
        choices.append([at for at in likely if _same_column(column, found[at])])
    return choices


def _same_column(one: list[Cell], other: list[Cell]) -> bool:
    return _same_bag([(cell,) for cell in one], [(cell,) for cell in other])


def _mappings(choices: list[list[int]]) -> Iterator[tuple[int, ...]]:
    """Injective choices, at most `MAPPINGS` of them."""
    budget = MAPPINGS
    stack: list[tuple[int, ...]] = [()]
    while stack and budget:
        chosen = stack.pop()
        if len(chosen) == len(choices):
            budget -= 1
            yield chosen
        else:
            options = [at for at in choices[len(chosen)] if at not in chosen]
            stack.extend((*chosen, at) for at in reversed(options))


# ---------------------------------------------------------------- rows


def _same_bag(expected: Sequence[tuple[Cell, ...]], answer: Sequence[tuple[Cell, ...]]) -> bool:
    """The same rows the same number of times; numbers within the tolerance."""
    if len(expected) != len(answer):
        return False
    if Counter(expected) == Counter(answer):
        return True
    left, right = _by_fixed_cells(expected), _by_fixed_cells(answer)
    return left.keys() == right.keys() and all(_pair(rows, right[key]) for key, rows in left.items())


def _by_fixed_cells(rows: Sequence[tuple[Cell, ...]]) -> dict[tuple[Any, ...], list[tuple[float, ...]]]:
    """Rows by all they hold but numbers; the numbers of each row in order of column."""
    groups: dict[tuple[Any, ...], list[tuple[float, ...]]] = defaultdict(list)
    for row in rows:
        fixed = tuple("number" if kind == "number" else (kind, value) for kind, value in row)
        groups[fixed].append(tuple(value for kind, value in row if kind == "number"))
    return groups


def _pair(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> bool:
    """Pairs rows of numbers within the tolerance: in sorted order, or else each with the first that fits."""
    if len(one) != len(other):
        return False
    one, rest = sorted(one), sorted(other)
    if all(map(_close, one, rest)):
        return True
    for row in one:
        at = next((at for at, candidate in enumerate(rest) if _close(row, candidate)), None)
        if at is None:
            return False
        rest.pop(at)
    return True


def _close(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(map(_close_numbers, one, other))


def _close_numbers(a: float, b: float) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL)


def _same_order(
    expected: Sequence[tuple[Cell, ...]], answer: Sequence[tuple[Cell, ...]], groups: Sequence[int]
) -> bool:
    start = 0
    for length in groups:
        if not _same_bag(expected[start : start + length], answer[start : start + length]):
            return False
        start += length
    return True


# ---------------------------------------------------------------- cells


def _column(rows: Rows, at: int) -> list[Cell]:
    return [_cell(row[at]) for row in rows.rows]


def _cell(value: Any) -> Cell:  # noqa: PLR0911 - one line per kind
    if value is None:
        return ("null", None)
    if isinstance(value, bool | int | float | Decimal):
        # true and false are 1 and 0, as in the reference: both spellings answer a yes-or-no question
        return ("text", "NaN") if math.isnan(value) else ("number", _number(value))
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, datetime):
        return ("moment", value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)
    if isinstance(value, date):
        return ("moment", datetime.combine(value, time()))
    if isinstance(value, timedelta):
        return ("interval", value)
    if isinstance(value, time):
        return ("time", value)
    if isinstance(value, list | tuple):
        return ("array", tuple(map(_cell, value)))
    if isinstance(value, dict):
        return ("json", json.dumps(value, sort_keys=True, default=str))
    return (type(value).__name__, str(value))


def _number(value: bool | int | float | Decimal) -> float | int:
    """Whole numbers as int: keys and counts are compared exactly, and two keys beyond 2**53 stay apart."""
    return int(value) if math.isfinite(value) and value == int(value) else float(value)
