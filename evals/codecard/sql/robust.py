"""Three perturbed copies of each database: a query that was right by the luck of small data is wrong on one.

A perturbation keeps what a schema promises and changes the rest, with a seed: rows go missing, values that repeat
are drawn anew from their own column, tables without a column of their own identity get further rows of such values,
numbers move by one, cells become NULL where that is allowed. Columns whose values are all different (ids, names)
are left alone, so that queries that differ only in which of them they group by stay equivalent.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from psycopg import sql as quoting

from codecard.sql.build import Connection, Installation, NewDatabase, make_databases

COPIES = 3
_REVISION = 4
"""Raised when the perturbation changes; it is part of the copies' names."""
_DROP, _ADD, _REDRAW, _JITTER, _NULL = 0.15, 0.6, 0.5, 0.25, 0.05
"""Chances: of a row to go missing or to be added, of a cell to be redrawn, to move by one, to become NULL."""

_UNIQUE = """
SELECT k.conrelid::regclass::oid::int, array_agg(a.attname::text)
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
WHERE k.contype IN ('p', 'u') GROUP BY k.oid, k.conrelid
"""

_COLUMNS = """
SELECT c.oid::int, n.nspname, c.relname, a.attname, a.attnotnull, t.typcategory = 'N',
       EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND a.attnum = ANY (k.conkey))
         OR EXISTS (SELECT FROM pg_constraint k WHERE k.confrelid = c.oid AND a.attnum = ANY (k.confkey))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'frozen')
ORDER BY 2, 3, a.attnum
"""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    required: bool
    numeric: bool
    constrained: bool

    @property
    def is_key(self) -> bool:
        """By constraint, or by the names these schemas give to keys."""
        return self.constrained or self.name.lower().endswith(("id", "code", "key"))


Cells = list[str | None]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns, and the places of those that each unique constraint spans."""

    columns: tuple[Column, ...]
    unique: tuple[tuple[int, ...], ...] = ()


def make_copies(plan: Installation, conninfo: Callable[[str], str]) -> dict[str, list[str]]:
    """Makes the copies that are not there yet; their names by the name of their database."""
    copies = {name: [f"{name}_copy{_REVISION}_{seed}" for seed in range(1, COPIES + 1)] for name in plan.schemas}
    wanted = [
        NewDatabase(copy, f'TEMPLATE "{plan.database(name)}"', functools.partial(_perturb, f"{seed} {name}"))
        for name, found in copies.items()
        for seed, copy in enumerate(found, start=1)
    ]
    make_databases(plan, conninfo, wanted)
    return copies


def _perturb(seed: str, connection: Connection) -> None:
    # foreign keys are not checked: a query meets dangling references in the original data as well
    connection.execute("SET session_replication_role = replica")
    for (schema, table), layout in _layouts(connection).items():
        name = quoting.Identifier(schema, table)
        columns = [quoting.Identifier(column.name) for column in layout.columns]
        texts = quoting.SQL(", ").join(quoting.SQL("{}::text").format(column) for column in columns)
        rows = connection.execute(quoting.SQL("SELECT {} FROM {} t ORDER BY t::text").format(texts, name)).fetchall()
        changed = perturbed([list(row) for row in rows], layout, random.Random(f"{seed} {table}"))  # noqa: S311
        connection.execute(quoting.SQL("DELETE FROM {}").format(name))
        listed = quoting.SQL(", ").join(columns)
        with connection.cursor().copy(quoting.SQL("COPY {} ({}) FROM STDIN").format(name, listed)) as copy:
            for cells in changed:
                copy.write_row(cells)


def _layouts(connection: Connection) -> dict[tuple[str, str], Layout]:
    unique: dict[int, list[list[str]]] = {}
    for oid, names in connection.execute(_UNIQUE).fetchall():
        unique.setdefault(oid, []).append(names)
    found: dict[tuple[int, str, str], list[Column]] = {}
    for oid, schema, table, *about in connection.execute(_COLUMNS).fetchall():
        found.setdefault((oid, schema, table), []).append(Column(*about))
    layouts = {}
    for (oid, schema, table), columns in found.items():
        place = {column.name: at for at, column in enumerate(columns)}
        spans = tuple(tuple(place[name] for name in names) for names in unique.get(oid, ()))
        layouts[schema, table] = Layout(tuple(columns), spans)
    return layouts


def perturbed(rows: list[Cells], layout: Layout, rng: random.Random) -> list[Cells]:
    """The rows of a table, as text cells, perturbed. What was unique stays so; at least one row is left."""
    if not rows:
        return []
    values = [[row[at] for row in rows] for at in range(len(layout.columns))]
    fixed = [_distinct(cells) for cells in values]
    # drawn from a third of them: values that meet often are what shows a lost DISTINCT or a join too many
    pools = [rng.sample(cells, (len(cells) + 2) // 3) for cells in values]
    kept = [row for row in rows if rng.random() >= _DROP] or rows[:1]
    if len(kept) == len(rows) > 1:
        kept.pop(rng.randrange(len(kept)))
    changed = [
        [
            _changed(cell, column, pools[at], fixed[at], rng)
            for at, (cell, column) in enumerate(zip(row, layout.columns, strict=True))
        ]
        for row in kept
    ]
    if not any(fixed):
        changed += [[rng.choice(cells) for cells in pools] for _ in range(round(_ADD * len(rows)))]
    spans = list(layout.unique)
    if len(set(map(tuple, rows))) == len(rows):
        spans.append(tuple(range(len(values))))
    return _without_collisions(changed, spans)


def _without_collisions(rows: list[Cells], spans: Sequence[tuple[int, ...]]) -> list[Cells]:
    """The rows but those that would repeat an earlier one in any span of columns."""
    seen: set[tuple[int, tuple[str | None, ...]]] = set()
    result = []
    for row in rows:
        keys = {(number, tuple(row[at] for at in span)) for number, span in enumerate(spans)}
        if not keys & seen:
            seen |= keys
            result.append(row)
    return result


def _distinct(values: Cells) -> bool:
    known = [value for value in values if value is not None]
    return len(set(known)) == len(known)


def _changed(cell: str | None, column: Column, values: Cells, fixed: bool, rng: random.Random) -> str | None:
    redraw, jitter, void = rng.random() < _REDRAW, rng.random() < _JITTER, rng.random() < _NULL
    if not fixed and redraw:
        cell = rng.choice(values)
    if column.is_key:
        return cell
    if column.numeric and jitter and cell is not None:
        cell = _moved(cell, rng.choice((-1, 1)))
    return None if void and not fixed and not column.required else cell


def _moved(cell: str, step: int) -> str:
    """The number one further; downwards only where a digit would be added (its column may not hold it)."""
    try:
        number = Decimal(cell)
    except InvalidOperation:
        return cell
    up = number + step
    return str(up if len(str(int(abs(up)))) <= len(str(int(abs(number)))) else number - step)
