"""Opens a Database: on a server of our own, or on one that is given by URL."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import conninfo

from codecard.model import InfrastructureError, UsageError, content_key
from codecard.sql import DatabaseOptions, clock, harden, robust
from codecard.sql.binaries import OLDEST, find_binaries
from codecard.sql.build import Installation, install
from codecard.sql.database import Access, Database, Started
from codecard.sql.definition import SqlDefinition, data_folder
from codecard.sql.gold_cache import GoldCache
from codecard.sql.server import Account, Server, clusters_dir, open_to_account, running_server
from codecard.sql.session import check_server, one_line

_REVISION = 1
"""Raised when databases of the same content have to be built anew."""


@contextlib.contextmanager
def opened(version: SqlDefinition, options: DatabaseOptions, data_dir: Path | None) -> Iterator[Database]:
    folder = data_folder(version, data_dir)
    schemas = {name: pin.read(folder).decode("utf-8") for name, pin in version.schemas.items()}
    place = _given if options.url else _own
    with place(version, options, schemas) as database:
        yield database


@contextlib.contextmanager
def _own(version: SqlDefinition, options: DatabaseOptions, schemas: Mapping[str, str]) -> Iterator[Database]:
    """On a server that runs for this one database."""
    binaries = find_binaries(options.server)
    library = clock.faketime_library() if options.clock != "rewrite" else None
    if options.clock == "faketime" and library is None:
        raise InfrastructureError("no libfaketime on this machine: pip install libfaketime, or use the clock `rewrite`")
    plan = Installation(schemas, options.as_of or version.as_of, rewritten=library is None)
    facts = _facts(version, plan, binaries.version)
    account = Account.ours()
    programs = open_to_account(*binaries.tree, account) / binaries.inside
    environment = {}
    if library is not None:
        library = open_to_account(library.parent, [library.name], account) / library.name
        environment = clock.faketime_environment(library, plan.day)
    folder = clusters_dir() / _key(facts)

    def fill(server: Server) -> None:
        with _making(f"PostgreSQL in {folder}"):
            install(plan, server.conninfo)

    with running_server(replace(binaries, folder=programs), folder, environment, fill) as server:
        access = Access(
            databases=list(schemas),
            judge=lambda name: server.conninfo(name, harden.ROLE),
            admin=server.conninfo,
            alive=lambda: server.alive,
            copies=robust.make_copies(plan, server.conninfo) if options.robust else {},
            rewrite=clock.rewrite if plan.rewritten else None,
        )
        with contextlib.closing(Database(access, options, facts, GoldCache(folder / "golds.json"))) as database:
            database.started = Started(
                server=binaries.source, pid=server.process.pid, cold=server.cold, seconds=server.start_s
            )
            yield database


@contextlib.contextmanager
def _given(version: SqlDefinition, options: DatabaseOptions, schemas: Mapping[str, str]) -> Iterator[Database]:
    """On the server at `options.url`, in databases of our own."""
    url = options.url or ""
    number, superuser = check_server(url, OLDEST)
    if not superuser:
        raise UsageError("--database-url: its user has to be a superuser, to make a role that can only read")
    password = hashlib.sha256(f"codecard judge {url}".encode()).hexdigest()[:32]
    plan = Installation(schemas, options.as_of or version.as_of, rewritten=True, password=password)
    facts = _facts(version, plan, number)
    plan = replace(plan, prefix=f"codecard_{_key(facts)[:10]}_")

    def admin(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=name if name == "postgres" else plan.database(name))

    def judge(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=plan.database(name), user=harden.ROLE, password=password)

    def raw(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=name)

    with _making("--database-url"):
        install(plan, raw)
        copies = robust.make_copies(plan, raw) if options.robust else {}
    access = Access(
        databases=list(schemas), judge=judge, admin=admin, alive=lambda: True, copies=copies, rewrite=clock.rewrite
    )
    with contextlib.closing(Database(access, options, facts, GoldCache(None))) as database:
        yield database


@contextlib.contextmanager
def _making(where: str) -> Iterator[None]:
    """What goes wrong while databases are made, in a line."""
    try:
        yield
    except psycopg.Error as error:
        raise InfrastructureError(f"{where}: the databases cannot be made: {one_line(error)}") from None


def _facts(version: SqlDefinition, plan: Installation, postgres: str) -> dict[str, str]:
    """All that a verdict depends on besides the query: the same facts, the same verdicts."""
    return {
        "version": version.name,
        "postgres": postgres,
        "as_of": plan.day.isoformat(),
        "clock": "rewrite" if plan.rewritten else "faketime",
        "data": content_key(dict(plan.schemas)),
    }


def _key(facts: Mapping[str, str]) -> str:
    """Hash of all that the databases are made from."""
    return content_key([_REVISION, *(facts[name] for name in ("postgres", "data", "as_of", "clock"))])
