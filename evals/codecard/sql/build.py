"""Fills a server with the benchmark's databases, closed to everything but reading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import psycopg

from codecard.sql import clock, harden

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'frozen')
ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """`schemas`: the SQL that makes and fills each database, by its name; `prefix` precedes their names.

    `rewritten` says that the clock is the schema `frozen` (`codecard.sql.clock`), at `day`.
    """

    schemas: Mapping[str, str]
    day: date
    rewritten: bool
    prefix: str = ""
    role: str = harden.ROLE
    password: str | None = None

    def database(self, name: str) -> str:
        return f"{self.prefix}{name}"


def install(plan: Installation, conninfo: Callable[[str], str]) -> None:
    """Makes the role and every database that is not there yet; `conninfo` gives an administrator's way in."""
    with psycopg.connect(conninfo("postgres"), autocommit=True) as admin:
        _script(admin, harden.make_role(plan.role, plan.password))
        present = {row[0] for row in admin.execute("SELECT datname FROM pg_database").fetchall()}
        for name, schema in plan.schemas.items():
            target = plan.database(name)
            if target not in present:
                partial = f"{target}_partial"
                _script(admin, f'DROP DATABASE IF EXISTS "{partial}"')
                locale = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
                _script(admin, f'CREATE DATABASE "{partial}" TEMPLATE template0 {locale}')
                _load(plan, conninfo(partial), schema, partial)
                _script(admin, f'ALTER DATABASE "{partial}" RENAME TO "{target}"')


def _load(plan: Installation, conninfo: str, schema: str, database: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        _script(connection, harden.CLOSE_FUNCTIONS)
        if plan.rewritten:
            _script(connection, clock.frozen_schema(plan.day))
            path = "frozen, pg_catalog, public"
            _script(connection, f'ALTER DATABASE "{database}" SET search_path = {path}; SET search_path = {path}')
            schema = clock.rewrite(schema)
        # the administrator's own connection must read the day's date in the zone of the judged role
        _script(connection, "SET timezone = 'UTC'; SET synchronous_commit = off")
        _script(connection, "BEGIN;\nSET LOCAL client_min_messages = warning;\n" + schema + "\n;COMMIT")
        schemas = sorted({str(row[0]) for row in connection.execute(_TABLES).fetchall()} | {"public"})
        if plan.rewritten:
            schemas.append(clock.SCHEMA)
        _script(connection, harden.grant_reading(database, schemas, plan.role))
        _script(connection, "VACUUM (FREEZE, ANALYZE)")


def _script(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> None:
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


def terminate(conninfo: str, pid: int) -> None:
    """Ends another session of the server."""
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
