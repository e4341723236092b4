"""Three perturbed copies of each database: a query that was right by the luck of small data is wrong on one.

A perturbation keeps what a schema promises and changes the rest, with a seed: rows go missing, repeated values are
drawn anew from their own column, numbers move by one, cells become NULL where that is allowed. Keys, and every
column whose values are all different (names, codes), are left alone, so that queries that differ only in which of
them they group by stay equivalent.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import psycopg
from psycopg import sql as quoting

from codecard.sql import clock, harden
from codecard.sql.build import Installation

COPIES = 3
_REVISION = 2
"""Raised when the perturbation changes; it is part of the copies' names."""
_DROP, _REDRAW, _JITTER, _NULL = 0.15, 0.25, 0.25, 0.05
"""Chances: of a row to go missing, of a cell to be redrawn, to move by one, to become NULL."""

_COLUMNS = """
SELECT n.nspname, c.relname, a.attname, a.attnotnull, t.typcategory = 'N',
       EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND a.attnum = ANY (k.conkey))
         OR EXISTS (SELECT FROM pg_constraint k WHERE k.confrelid = c.oid AND a.attnum = ANY (k.confkey))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'frozen')
ORDER BY 1, 2, a.attnum
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


def make_copies(names: Sequence[str], conninfo: Callable[[str], str], plan: Installation) -> dict[str, tuple[str, ...]]:
    """Makes the copies that are not there yet; their names by the name of their database.

    `conninfo` takes the names of databases as a Database has them.
    """
    copies = {name: tuple(f"{name}_copy{_REVISION}_{at}" for at in range(1, COPIES + 1)) for name in names}
    with psycopg.connect(conninfo("postgres"), autocommit=True) as admin:
        present = {row[0] for row in admin.execute("SELECT datname FROM pg_database").fetchall()}
        for name in names:
            for seed, copy in enumerate(copies[name], start=1):
                target = plan.database(copy)
                if target in present:
                    continue
                partial, source = f"{copy}_partial", plan.database(name)
                _do(admin, f'DROP DATABASE IF EXISTS "{plan.database(partial)}"')
                _do(admin, f'CREATE DATABASE "{plan.database(partial)}" TEMPLATE "{source}"')
                _perturb(conninfo(partial), plan, plan.database(partial), f"{seed} {name}")
                _do(admin, f'ALTER DATABASE "{plan.database(partial)}" RENAME TO "{target}"')
    return copies


def _perturb(conninfo: str, plan: Installation, database: str, seed: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        tables: dict[tuple[str, str], list[Column]] = {}
        for schema, table, *about in connection.execute(_COLUMNS).fetchall():
            tables.setdefault((schema, table), []).append(Column(*about))
        # foreign keys are not checked: a query meets dangling references in the original data as well
        _do(connection, "SET session_replication_role = replica")
        for (schema, table), columns in tables.items():
            name = quoting.Identifier(schema, table)
            listed = quoting.SQL(", ").join(quoting.Identifier(column.name) for column in columns)
            texts = quoting.SQL(", ").join(
                quoting.SQL("{}::text").format(quoting.Identifier(column.name)) for column in columns
            )
            rows = connection.execute(
                quoting.SQL("SELECT {} FROM {} t ORDER BY t::text").format(texts, name)
            ).fetchall()
            changed = perturbed([list(row) for row in rows], columns, random.Random(f"{seed} {table}"))  # noqa: S311
            connection.execute(quoting.SQL("DELETE FROM {}").format(name))
            with connection.cursor().copy(quoting.SQL("COPY {} ({}) FROM STDIN").format(name, listed)) as copy:
                for cells in changed:
                    copy.write_row(cells)
        if plan.rewritten:
            _do(connection, f'ALTER DATABASE "{database}" SET search_path = frozen, pg_catalog, public')
        schemas = sorted({schema for schema, _ in tables} | {"public"} | ({clock.SCHEMA} if plan.rewritten else set()))
        _do(connection, harden.grant_reading(database, schemas, plan.role))
        _do(connection, "VACUUM (FREEZE, ANALYZE)")


def perturbed(rows: list[Cells], columns: Sequence[Column], rng: random.Random) -> list[Cells]:
    """The rows of a table, as text cells, perturbed: at least one stays, and at least one goes if it can."""
    if not rows:
        return []
    kept = [row for row in rows if rng.random() >= _DROP] or rows[:1]
    if len(kept) == len(rows) > 1:
        kept.pop(rng.randrange(len(kept)))
    values = [[row[at] for row in rows] for at in range(len(columns))]
    free = [not column.is_key and not _distinct(cells) for column, cells in zip(columns, values, strict=True)]
    return [
        [
            _changed(cell, column, free[at], values[at], rng)
            for at, (cell, column) in enumerate(zip(row, columns, strict=True))
        ]
        for row in kept
    ]


def _distinct(values: Cells) -> bool:
    known = [value for value in values if value is not None]
    return len(set(known)) == len(known)


def _changed(cell: str | None, column: Column, free: bool, values: Cells, rng: random.Random) -> str | None:
    redraw, jitter, void = rng.random() < _REDRAW, rng.random() < _JITTER, rng.random() < _NULL
    if column.is_key:
        return cell
    if free and redraw:
        cell = rng.choice(values)
    if column.numeric and jitter and cell is not None:
        cell = _moved(cell, rng.choice((-1, 1)))
    return None if free and void and not column.required else cell


def _moved(cell: str, step: int) -> str:
    """The number one further; downwards only where a digit would be added (its column may not hold it)."""
    try:
        number = Decimal(cell)
    except InvalidOperation:
        return cell
    up = number + step
    return str(up if len(str(int(abs(up)))) <= len(str(int(abs(number)))) else number - step)


def _do(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> None:
    connection.execute(sql.encode())
