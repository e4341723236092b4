"""Fills a server with the benchmark's databases, closed to everything but reading."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from codecard.sql import clock, harden

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'frozen')
ORDER BY 1, 2
"""

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Installation:
    """`schemas`: the SQL that makes and fills each database, by its name; `prefix` precedes their names.

    `rewritten` says that the clock is the schema `frozen` (`codecard.sql.clock`), at `day`.
    """

    schemas: Mapping[str, str]
    day: date
    rewritten: bool
    prefix: str = ""
    password: str | None = None

    def database(self, name: str) -> str:
        return f"{self.prefix}{name}"


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """`template`: the options of CREATE DATABASE; `fill` is given an administrator's connection to it."""

    name: str
    template: str
    fill: Callable[[Connection], None]


def install(plan: Installation, conninfo: Callable[[str], str]) -> None:
    """Makes the role and every database that is not there yet; `conninfo` gives an administrator's way in."""
    with psycopg.connect(conninfo("postgres"), autocommit=True) as admin:
        script(admin, harden.make_role(plan.password))
    empty = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    wanted = [NewDatabase(name, empty, functools.partial(_load, plan, schema)) for name, schema in plan.schemas.items()]
    make_databases(plan, conninfo, wanted)


def make_databases(plan: Installation, conninfo: Callable[[str], str], wanted: Iterable[NewDatabase]) -> None:
    """Makes those that are not there yet, each whole or not at all, and opens them to the role."""
    with psycopg.connect(conninfo("postgres"), autocommit=True) as admin:
        present = {row[0] for row in admin.execute("SELECT datname FROM pg_database").fetchall()}
        for new in wanted:
            target = plan.database(new.name)
            if target in present:
                continue
            partial = f"{target}_partial"
            script(admin, f'DROP DATABASE IF EXISTS "{partial}"')
            script(admin, f'CREATE DATABASE "{partial}" {new.template}')
            if plan.rewritten:
                script(admin, f'ALTER DATABASE "{partial}" SET search_path = {clock.SCHEMA}, pg_catalog, public')
            with psycopg.connect(conninfo(partial), autocommit=True) as connection:
                new.fill(connection)
                schemas = {str(row[0]) for row in connection.execute(_TABLES).fetchall()} | {"public"}
                if plan.rewritten:
                    schemas.add(clock.SCHEMA)
                script(connection, harden.grant_reading(partial, sorted(schemas)))
                script(connection, "VACUUM (FREEZE, ANALYZE)")
            script(admin, f'ALTER DATABASE "{partial}" RENAME TO "{target}"')


def _load(plan: Installation, schema: str, connection: Connection) -> None:
    script(connection, harden.CLOSE_FUNCTIONS)
    if plan.rewritten:
        script(connection, clock.frozen_schema(plan.day))
        schema = clock.rewrite(schema)
    # the administrator's own connection must read the day's date in the zone of the judged role
    script(connection, "SET timezone = 'UTC'; SET synchronous_commit = off")
    script(connection, "BEGIN;\nSET LOCAL client_min_messages = warning;\n" + schema + "\n;COMMIT")


def script(connection: Connection, sql: str) -> None:
    """Several statements in the simple protocol; ours, never a model's."""
    connection.execute(sql.encode())


def content_hash(conninfo: str) -> str:
    """Hash of every row of every table of a database, whatever their order."""
    digest = hashlib.sha256()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for schema, table in connection.execute(_TABLES).fetchall():
            query = f'SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM "{schema}"."{table}" t'
            row = connection.execute(query.encode()).fetchone()
            digest.update(repr((schema, table, row)).encode())
    return digest.hexdigest()
