"""What each gold query finds: its rows, how they are sorted, and what else its LIMIT could have let through.

Computed once for each database content, server and date, and kept beside the cluster.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from codecard.sql.gold_cache import GoldResult
from codecard.sql.rows import Rows
from codecard.sql.strict import Gold

REALISATIONS = 60
"""Results of a LIMIT that cuts through ties are told apart up to this many; beyond, the server's own counts."""


Run = Callable[[str], Rows]
"""Runs a query of ours; raises where it fails."""


def gold_result(sql: str, run: Run) -> GoldResult:
    """The gold's rows, with its order and its ties where its text can be read; raises what `run` raises for it."""
    rows = run(sql)
    try:
        tree = sqlglot.parse_one(sql, dialect="postgres")
    except SqlglotError:
        tree = None
    if tree is not None and tree.args.get("order") is None:
        return GoldResult(rows, (Gold(rows),))
    keyed = _with_keys(tree, rows, run) if isinstance(tree, exp.Query) else None
    if keyed is None:  # an ORDER BY that could not be read is held to the letter
        return GoldResult(rows, (Gold(rows, (1,) * len(rows.rows)),))
    ordered, keys, beyond = keyed
    groups = tuple(len(list(ties)) for _, ties in itertools.groupby(keys))
    if not beyond or not groups:
        return GoldResult(rows, (Gold(ordered, groups),))
    return GoldResult(rows, tuple(_realisations(ordered, groups, beyond)), tied=True)


def _realisations(rows: Rows, groups: tuple[int, ...], beyond: Sequence[tuple[object, ...]]) -> list[Gold]:
    sure = rows.rows[: len(rows.rows) - groups[-1]]
    pool = (*rows.rows[len(sure) :], *beyond)
    if math.comb(len(pool), groups[-1]) > REALISATIONS:
        return [Gold(rows, groups)]
    chosen = itertools.combinations(pool, groups[-1])
    return [Gold(Rows(rows.columns, (*sure, *last)), groups) for last in chosen]


# ---------------------------------------------------------------- reading the gold's ORDER BY


def _with_keys(tree: Any, rows: Rows, run: Run) -> tuple[Rows, list[tuple[str, ...]], list[tuple[object, ...]]] | None:
    """The rows with their sort keys, and the rows beyond the LIMIT that tie with the last; None if unreadable.

    The keys are asked for as further columns of the same query. Anything that does not give the same rows back
    is not trusted.
    """
    places: list[int] = []
    hidden: list[Any] = []
    for key in tree.args["order"].expressions:
        place = _visible(key.this, rows.columns)
        if place is None:
            if not isinstance(tree, exp.Select) or tree.args.get("distinct"):
                return None
            hidden.append(key.this.copy())
            place = len(rows.columns) + len(hidden) - 1
        places.append(place)
    wide = tree.copy()
    for at, expression in enumerate(hidden):
        wide.select(exp.alias_(expression, f"codecard_key_{at}"), copy=False)
    found = _try(run, wide.sql(dialect="postgres"))
    width = len(rows.columns)
    if found is None or sorted(map(repr, rows.rows)) != sorted(repr(row[:width]) for row in found.rows):
        return None
    keys = [tuple(repr(row[place]) for place in places) for row in found.rows]
    ordered = Rows(rows.columns, tuple(row[:width] for row in found.rows))
    return ordered, keys, _beyond_limit(wide, found, width, run)


def _visible(expression: Any, columns: Sequence[str]) -> int | None:
    """The output column that an ORDER BY item names by its place or by its bare name."""
    if isinstance(expression, exp.Literal) and expression.is_int:
        return int(expression.this) - 1
    if isinstance(expression, exp.Column) and not expression.table:
        name = expression.name if expression.this.quoted else expression.name.lower()
        if columns.count(name) == 1:
            return columns.index(name)
    return None


def _beyond_limit(wide: Any, found: Rows, width: int, run: Run) -> list[tuple[object, ...]]:
    limit = wide.args.get("limit")
    if not isinstance(limit, exp.Limit) or not found.rows:
        return []
    with_ties = wide.copy()
    with_ties.set("limit", None)
    text = f"{with_ties.sql(dialect='postgres')} FETCH FIRST {limit.expression.sql()} ROWS WITH TIES"
    more = _try(run, text)
    if more is None or len(more.rows) <= len(found.rows):
        return []
    rest = [repr(row) for row in found.rows]
    beyond = []
    for row in more.rows:
        if repr(row) in rest:
            rest.remove(repr(row))
        else:
            beyond.append(row[:width])
    return beyond


def _try(run: Run, sql: str) -> Rows | None:
    try:
        return run(sql)
    except Exception:
        return None
