"""Attacks on the judge's database, run against real servers: none may read, write, hang, or reach beyond itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from codecard.model import Problem
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.database import Database
from codecard.sql.definition import SqlDefinition
from codecard.sql.session import Outcome

pytestmark = pytest.mark.postgres

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"

STATEMENTS = {
    "drop table": "DROP TABLE item",
    "drop table after the answer": "SELECT 4; DROP TABLE item",
    "commit, then drop": "SELECT 4; COMMIT; DROP TABLE item",
    "commit alone": "COMMIT",
    "end of the cursor, then more": "SELECT 4; CLOSE answer; ROLLBACK; DELETE FROM item",
    "delete": "DELETE FROM item",
    "update": "UPDATE item SET price = 0",
    "insert": "INSERT INTO item (name) VALUES ('x')",
    "truncate": "TRUNCATE item",
    "create table": "CREATE TABLE mine (a int)",
    "create temporary table": "CREATE TEMP TABLE mine (a int)",
    "create table as": "CREATE TABLE mine AS SELECT 1",
    "select into": "SELECT * INTO mine FROM item",
    "alter table": "ALTER TABLE item ADD COLUMN x int",
    "delete inside with": "WITH gone AS (DELETE FROM item RETURNING *) SELECT * FROM gone",
    "insert inside with": "WITH new AS (INSERT INTO item (name) VALUES ('x') RETURNING *) SELECT * FROM new",
    "table lock": "LOCK TABLE item IN ACCESS EXCLUSIVE MODE",
    "copy to a program": "COPY item TO PROGRAM 'touch /tmp/codecard-attack'",
    "copy to a file": "COPY item TO '/tmp/codecard-attack'",
    "copy from a file": "COPY item FROM '/etc/passwd'",
    "copy to the client": "COPY item TO STDOUT",
    "do block": "DO $$ BEGIN PERFORM 1; END $$",
    "do block deaf to cancelling": (
        "DO $$ BEGIN LOOP BEGIN LOOP END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    ),
    "lift the timeout": "SET statement_timeout = 0",
    "lift the timeout, then wait": "SET statement_timeout = 0; SELECT pg_sleep(600)",
    "reset all": "RESET ALL",
    "another role": "SET ROLE codecard",
    "another session user": "SET SESSION AUTHORIZATION codecard",
    "write transaction": "SET TRANSACTION READ WRITE",
    "listen": "LISTEN gossip",
    "notify": "NOTIFY gossip",
    "prepare": "PREPARE p AS SELECT 1",
    "cursor that outlives": "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "create function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create extension": "CREATE EXTENSION dblink",
    "load a library": "LOAD 'auto_explain'",
    "grant": "GRANT ALL ON item TO PUBLIC",
    "create role": "CREATE ROLE intruder SUPERUSER LOGIN",
    "drop database": "DROP DATABASE vault",
    "vacuum": "VACUUM FULL item",
    "checkpoint": "CHECKPOINT",
    "explain that runs": "EXPLAIN ANALYZE DELETE FROM item",
    "shell escape of psql": "\\! touch /tmp/codecard-attack",
    "change of database as in psql": "\\c vault",
}
"""Not one SELECT: refused before anything runs."""

FUNCTIONS = {
    "row locks": "SELECT * FROM item FOR UPDATE",
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "read a binary file": "SELECT pg_read_binary_file('postmaster.pid')",
    "list a folder": "SELECT pg_ls_dir('/')",
    "stat a file": "SELECT pg_stat_file('/etc/passwd')",
    "import a file": "SELECT lo_import('/etc/passwd')",
    "export a file": "SELECT lo_export(1, '/tmp/codecard-attack')",
    "make a large object": "SELECT lo_create(0)",
    "make a large object of bytes": "SELECT lo_from_bytea(0, 'x')",
    "passwords": "SELECT * FROM pg_authid",
    "passwords by view": "SELECT * FROM pg_shadow",
    "terminate all sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "terminate by number": "SELECT pg_terminate_backend(n) FROM generate_series(1, 30000) n",
    "cancel by number": "SELECT pg_cancel_backend(n) FROM generate_series(1, 30000) n",
    "watch what others run": "SELECT query FROM pg_stat_activity",
    "advisory lock": "SELECT pg_advisory_lock(1)",
    "advisory lock of the transaction": "SELECT pg_advisory_xact_lock(1)",
    "try an advisory lock": "SELECT pg_try_advisory_lock(1)",
    "notify by function": "SELECT pg_notify('gossip', 'x')",
    "set a parameter": "SELECT set_config('statement_timeout', '0', false)",
    "become another by parameter": "SELECT set_config('role', 'codecard', false)",
    "seed the generator": "SELECT setseed(0.5)",
    "sleep": "SELECT pg_sleep(600)",
    "sleep until": "SELECT pg_sleep_until('infinity')",
    "reload the server": "SELECT pg_reload_conf()",
    "rotate the log": "SELECT pg_rotate_logfile()",
    "switch the log": "SELECT pg_switch_wal()",
    "promote": "SELECT pg_promote()",
    "export the snapshot": "SELECT pg_export_snapshot()",
    "replication slot": "SELECT pg_create_physical_replication_slot('x')",
    "next number of a sequence": "SELECT nextval('item_item_id_seq')",
    "set a sequence": "SELECT setval('item_item_id_seq', 1000)",
    "text as a query": "SELECT query_to_xml('DELETE FROM item', true, true, '')",
    "the whole database as text": "SELECT database_to_xml(true, true, '')",
    "text as a query for statistics": "SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM item')",
    "where the data lie": "SELECT current_setting('data_directory')",
    "all settings": "SELECT name, setting FROM pg_settings",
    "large objects of the catalog": "SELECT * FROM pg_largeobject",
    "reset statistics": "SELECT pg_stat_reset()",
    "log the memory of others": "SELECT pg_log_backend_memory_contexts(1)",
    "another database": "SELECT * FROM vault.public.secret",
    "another database by link": "SELECT * FROM dblink('dbname=vault', 'SELECT word FROM secret') AS t(word text)",
    "definition of a function": "SELECT pg_get_functiondef(1)",
    "size of the others": "SELECT pg_database_size('vault')",
    "an external entity": """SELECT xmlparse(DOCUMENT '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>')::text
        FROM item WHERE name LIKE '%root:%'""",
}
"""One SELECT each: refused for want of rights, or empty-handed."""

EXHAUSTION = {
    "endless recursion": ENDLESS,
    "a very long series": "SELECT count(*) FROM generate_series(1, 10000000000)",
    "a product of tables": "SELECT count(*) FROM " + ", ".join(f"depot.stock t{n}" for n in range(5)),
    "a pattern that explodes": r"SELECT repeat('x', 30000) ~ '^(x*)(x*)(x*)\1\2\3y$'",
    "twenty million rows": "SELECT n FROM generate_series(1, 20000000) n",
    "a large sort": "SELECT * FROM generate_series(1, 30000000) n ORDER BY md5(n::text)",
    "a cell of 900 megabytes": "SELECT repeat('x', 900000000)",
    "cells of 100 megabytes": "SELECT repeat('x', 100000000) FROM generate_series(1, 1000)",
    "a row of many large cells": "SELECT x, x, x, x, x FROM (SELECT repeat('x', 200000000) AS x) t",
    "a large array": "SELECT array_agg(n) FROM generate_series(1, 200000000) n",
    "a large text": "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 50000000) n",
    "a number of many digits": "SELECT factorial(50000)::text",
    "deep nesting": "SELECT " + "(" * 20000 + "1" + ")" * 20000,
    "a long chain": "SELECT " + "+".join(["1"] * 40000),
    "a query that is too long": "SELECT '" + "x" * 200_000 + "'",
}
"""Time, memory, disk: ended by a limit."""

MALFORMED = {
    "nothing": "",
    "only a comment": "-- nothing",
    "a NUL character": "SELECT 4\0; DROP TABLE item",
    "half a surrogate": "SELECT '\ud800'",
    "an open literal": "SELECT 'open",
    "an open comment": "SELECT 1 /* open",
    "a parameter": "SELECT $1",
    "a placeholder": "SELECT %s",
    "prose": "I am sorry, I cannot answer that.",
}


def test_there_are_at_least_forty_attacks() -> None:
    assert len(STATEMENTS) + len(FUNCTIONS) + len(EXHAUSTION) + len(MALFORMED) >= 40


@dataclass
class Siblings:
    """Honest queries that run beside the attacks all the time."""

    database: Database
    problem: Problem
    judged: int = 0
    disturbed: tuple[str, ...] = ()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            outcome = self.database.judge(self.problem, "SELECT count(name) FROM item")
            self.judged += 1
            if not outcome.strict_passed:
                self.disturbed += (f"{outcome.outcome}: {outcome.reason}",)


@pytest.fixture(scope="module")
def database(toy: tuple[SqlDefinition, Path], postgres: str) -> Iterator[Database]:
    definition, folder = toy
    options = DatabaseOptions(server=postgres, timeout_s=2)
    with open_database(definition, options, data_dir=folder) as opened:
        yield opened


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database._access.admin("shop"), autocommit=True) as connection:
        yield connection


def _leftovers(admin: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Everything an attack could have left in the server: locks, objects, roles, settings, open transactions."""
    queries = (
        "SELECT 'lock', locktype FROM pg_locks WHERE locktype = 'advisory'",
        "SELECT 'large object', oid::text FROM pg_largeobject_metadata",
        "SELECT 'table', relname FROM pg_class WHERE relname IN ('mine', 'kept')",
        "SELECT 'role', rolname FROM pg_roles WHERE rolname = 'intruder'",
        "SELECT 'sequence', last_value::text FROM item_item_id_seq WHERE last_value <> 4",
        "SELECT 'slot', slot_name FROM pg_replication_slots",
    )
    return [row for query in queries for row in admin.execute(query.encode()).fetchall()]


def test_no_attack_does_harm(
    database: Database, admin: psycopg.Connection[tuple[object, ...]], count_items: Problem
) -> None:
    """A model's SQL that drops, reads, hangs or kills must end as a wrong answer, and leave all else as it was."""
    before = database.content_hashes()
    stop = threading.Event()
    siblings = Siblings(database, count_items)
    beside = threading.Thread(target=siblings.run, args=(stop,))
    beside.start()
    groups = (STATEMENTS, FUNCTIONS, EXHAUSTION, MALFORMED)
    attacks = [(group, name, sql) for group in groups for name, sql in group.items()]
    try:
        outcomes = database.judge_many((count_items, sql) for _, _, sql in attacks)
    finally:
        stop.set()
        beside.join()
    got_through, voided = [], []
    for (_, name, _), outcome in zip(attacks, outcomes, strict=True):
        if outcome.reference_passed or outcome.strict_passed:
            got_through.append(name)
        if outcome.void:
            voided.append((name, outcome.reason))
    assert (got_through, voided) == ([], [])
    assert siblings.judged > 0
    assert siblings.disturbed == ()
    assert database.content_hashes() == before
    assert _leftovers(admin) == []
    assert not Path("/tmp/codecard-attack").exists()
    os.kill(database.started.pid, 0)  # the server is still the one that was started


@pytest.mark.parametrize("name", STATEMENTS)
def test_what_is_not_one_select_is_refused(database: Database, count_items: Problem, name: str) -> None:
    """A statement that gets as far as running could commit, whatever became of its answer."""
    assert database.judge(count_items, STATEMENTS[name]).outcome is Outcome.REFUSED


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_reach_beyond_the_query_are_closed(database: Database, count_items: Problem, name: str) -> None:
    """A SELECT may do through a function what it may not do as a statement: that the query failed is not enough."""
    outcome = database.judge(count_items, FUNCTIONS[name])
    assert (outcome.outcome, outcome.row_count) in {(Outcome.ERROR, None), (Outcome.REFUSED, None), (Outcome.OK, 0)}


@pytest.mark.parametrize("name", MALFORMED)
def test_text_that_is_no_query_is_wrong_and_not_void(database: Database, count_items: Problem, name: str) -> None:
    """Broken text from a model is the model's failure; a void would hide it."""
    outcome = database.judge(count_items, MALFORMED[name])
    assert outcome.outcome in {Outcome.REFUSED, Outcome.ERROR}


UNREADABLE = {
    "a day without end": "SELECT 'infinity'::date",
    "a year before the first": "SELECT DATE '0044-03-15 BC'",
    "an interval of ages": "SELECT interval '5000000 years'",
    "the hour 24": "SELECT TIME '24:00'",
    "brackets in brackets": "SELECT (repeat('[', 50000) || repeat(']', 50000))::json FROM item",
}
"""Values of PostgreSQL that Python has none for."""


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_result_that_cannot_be_read_ends_the_query_and_not_the_run(
    database: Database, count_items: Problem, name: str
) -> None:
    """One strange value in one answer must not bring down the whole run."""
    outcome = database.judge(count_items, UNREADABLE[name])
    assert (outcome.reference_passed, outcome.strict_passed) == (False, False)
    assert database.judge(count_items, "SELECT count(*) FROM item").strict_passed


def test_a_session_keeps_no_state_of_the_query_before(database: Database, count_items: Problem) -> None:
    """A query that fails halfway must not leave its transaction to the next one on the same connection."""
    for attack in (
        "SELECT 1 / 0",
        "SELECT name FROM nowhere",
        "SET search_path = depot",
        "SELECT count(*) FROM item;;",
    ):
        database.judge(count_items, attack)
    assert database.judge(count_items, "SELECT count(*) FROM item").strict_passed
