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
from codecard.sql import DatabaseOptions, clock, robust
from codecard.sql.binaries import OLDEST, find_binaries
from codecard.sql.build import Installation, install
from codecard.sql.data import data_folder
from codecard.sql.database import Access, Database, Started
from codecard.sql.definition import SqlDefinition
from codecard.sql.gold_cache import GoldCache
from codecard.sql.server import Account, ClusterPlan, Server, clusters_dir, open_to_account, running_server
from codecard.sql.session import check_server, one_line

_REVISION = 1
"""Raised when clusters of the same content have to be built anew."""


@contextlib.contextmanager
def opened(version: SqlDefinition, options: DatabaseOptions, data_dir: Path | None) -> Iterator[Database]:
    folder = data_folder(version, data_dir)
    schemas = {name: pin.read(folder).decode("utf-8") for name, pin in version.schemas.items()}
    if options.url:
        with _given(version, options, schemas) as database:
            yield database
    else:
        with _own(version, options, schemas) as database:
            yield database


# ---------------------------------------------------------------- a server of our own


@contextlib.contextmanager
def _own(version: SqlDefinition, options: DatabaseOptions, schemas: Mapping[str, str]) -> Iterator[Database]:
    binaries = find_binaries(options.server)
    library = clock.faketime_library() if options.clock != "rewrite" else None
    if options.clock == "faketime" and library is None:
        raise InfrastructureError("no libfaketime on this machine: pip install libfaketime, or use the clock `rewrite`")
    day = options.as_of or version.as_of
    installation = Installation(schemas, day, rewritten=library is None)
    kind = "rewrite" if library is None else "faketime"
    key = content_key([_REVISION, binaries.version, _data_hash(schemas), day.isoformat(), kind])
    account = Account.ours()
    programs = open_to_account(*binaries.tree, account) / binaries.inside
    environment = {}
    if library is not None:
        environment = clock.faketime_environment(
            open_to_account(library.parent, [library.name], account) / library.name, day
        )

    def fill(server: Server) -> None:
        install(installation, server.conninfo)

    plan = ClusterPlan(replace(binaries, folder=programs), key, environment, fill)
    facts: dict[str, object] = {
        "version": version.name,
        "postgres": binaries.version,
        "as_of": day.isoformat(),
        "clock": kind,
        "data": _data_hash(schemas),
    }
    with running_server(plan) as server:
        copies = robust.make_copies(list(schemas), server.conninfo, installation) if options.robust else {}
        access = Access(
            databases=list(schemas),
            judge=lambda name: server.conninfo(name, installation.role),
            admin=server.conninfo,
            alive=lambda: server.alive,
            copies=copies,
            rewrite=None if library else clock.rewrite,
        )
        cache = GoldCache(clusters_dir() / key / "golds.json")
        with _closing(
            Database(access, facts=facts, cache=cache, workers=options.workers, timeout_s=options.timeout_s)
        ) as database:
            database.started = Started(
                server=binaries.source, pid=server.process.pid, cold=server.cold, seconds=server.start_s
            )
            yield database


# ---------------------------------------------------------------- a server that was given


@contextlib.contextmanager
def _given(version: SqlDefinition, options: DatabaseOptions, schemas: Mapping[str, str]) -> Iterator[Database]:
    url = options.url or ""
    number, superuser = check_server(url, OLDEST)
    if not superuser:
        raise UsageError("--database-url: its user has to be a superuser, to make a role that can only read")
    day = options.as_of or version.as_of
    key = content_key([_REVISION, number, _data_hash(schemas), day.isoformat(), "rewrite"])[:10]
    password = hashlib.sha256(f"codecard judge {url}".encode()).hexdigest()[:32]
    plan = Installation(
        schemas, day, rewritten=True, prefix=f"codecard_{key}_", role="codecard_judge", password=password
    )

    def admin(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=name if name == "postgres" else plan.database(name))

    def judge(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=plan.database(name), user=plan.role, password=password)

    def raw(name: str) -> str:
        return conninfo.make_conninfo(url, dbname=name)

    try:
        install(plan, raw)
        copies = robust.make_copies(list(schemas), admin, plan) if options.robust else {}
    except psycopg.Error as error:
        raise InfrastructureError(f"--database-url: the databases cannot be made: {one_line(error)}") from None
    access = Access(
        databases=list(schemas), judge=judge, admin=admin, alive=lambda: True, copies=copies, rewrite=clock.rewrite
    )
    facts: dict[str, object] = {
        "version": version.name,
        "postgres": number,
        "as_of": day.isoformat(),
        "clock": "rewrite",
        "data": _data_hash(schemas),
    }
    cache = GoldCache(None)
    with _closing(
        Database(access, facts=facts, cache=cache, workers=options.workers, timeout_s=options.timeout_s)
    ) as database:
        yield database


@contextlib.contextmanager
def _closing(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()


def _data_hash(schemas: Mapping[str, str]) -> str:
    return content_key(dict(schemas))
