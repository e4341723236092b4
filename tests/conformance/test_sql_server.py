"""The server and its clusters: the frozen date, what a crash leaves, servers given by URL, golds and copies."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from psycopg import conninfo

from codecard.model import Problem, UsageError, Verdict
from codecard.sql import DatabaseOptions, open_database, opening, parse_day
from codecard.sql.binaries import find_binaries
from codecard.sql.clock import faketime_library, rewrite
from codecard.sql.database import Database
from codecard.sql.definition import SqlDefinition, load
from codecard.sql.gold import gold_result
from codecard.sql.gold_cache import GoldCache
from codecard.sql.rows import Rows
from codecard.sql.session import Caps, Outcome

pytestmark = pytest.mark.postgres
Toy = tuple[SqlDefinition, Path]
RIGHT = "SELECT count(*) FROM item"


@pytest.fixture(scope="module")
def database(toy: Toy, postgres: str) -> Iterator[Database]:
    definition, folder = toy
    with open_database(definition, DatabaseOptions(server=postgres, robust=True), data_dir=folder) as opened:
        yield opened


def _rows(database: Database, sql: str) -> Rows:
    result = database._run("shop", sql, Caps())
    assert result.rows is not None, result.message
    return result.rows


def test_golds_are_judged_right_against_themselves(database: Database, toy: Toy) -> None:
    """A gold that fails its own check makes every verdict on its question worthless."""
    definition, folder = toy
    report = database.check_golds(load(definition, folder / "sql"))
    assert (report.questions, report.queries, report.failed, report.known_bad) == (3, 5, {}, ())


@pytest.mark.parametrize("clock", ["faketime", "rewrite"])
def test_every_clock_of_the_server_stands_at_the_date(toy: Toy, postgres: str, clock: str) -> None:
    """Golds that read the date would change from one day to the next, and so would the score."""
    if clock == "faketime" and faketime_library() is None:
        pytest.skip("no libfaketime; remedy: pip install libfaketime")
    definition, folder = toy
    asked = """SELECT CURRENT_DATE::text, now()::date::text, CURRENT_TIMESTAMP(0)::date::text,
      LOCALTIMESTAMP::date::text, clock_timestamp()::date::text, transaction_timestamp()::date::text,
      age(DATE '2023-02-28')::text"""
    options = DatabaseOptions(server=postgres, clock=clock)
    with open_database(definition, options, data_dir=folder) as database:
        assert _rows(database, asked).rows == (("2024-02-29",) * 6 + ("1 year 1 day",),)
        assert _rows(database, "SELECT max(sold_on)::text FROM item").rows == (("2024-02-29",),)


def test_another_date_is_another_cluster(toy: Toy, postgres: str) -> None:
    """Data loaded under one date and judged under another make golds empty."""
    definition, folder = toy
    options = DatabaseOptions(server=postgres, as_of=parse_day("2031-07-01"))
    with open_database(definition, options, data_dir=folder) as database:
        assert _rows(database, "SELECT max(sold_on) = CURRENT_DATE, max(sold_on)::text FROM item").rows == (
            (True, "2031-07-01"),
        )


def test_words_for_the_present_are_rewritten_only_where_they_are_words() -> None:
    """A rewrite inside a literal or of a column's name would change the query's meaning."""
    untouched = "SELECT 'CURRENT_DATE', \"current_date\", t.current_date /* CURRENT_DATE */ FROM t -- now CURRENT_DATE"
    assert rewrite(untouched) == untouched
    assert rewrite("SELECT current_timestamp (3) - x, LOCALTIME") == "SELECT frozen.now() - x, (frozen.now()::time)"


def test_a_killed_server_makes_voids_and_the_next_run_is_whole(toy: Toy, postgres: str, count_items: Problem) -> None:
    """kill -9 of the database must not count against the model, nor leave a cluster that nobody trusts."""
    definition, folder = toy
    options = DatabaseOptions(server=postgres, as_of=parse_day("2024-03-01"))
    with open_database(definition, options, data_dir=folder) as database:
        assert database.judge(count_items, RIGHT).strict_passed
        before = database.content_hashes()
        os.kill(database.started.pid, signal.SIGKILL)
        outcome = database.judge(count_items, RIGHT)
        while not outcome.void:  # a session whose process has not noticed yet may still answer
            assert outcome.strict_passed
            outcome = database.judge(count_items, RIGHT)
        assert (outcome.reference_passed, outcome.strict_passed) == (None, None)
        assert outcome.verdict("reference") is Verdict.SANDBOX_ERROR
    with open_database(definition, options, data_dir=folder) as database:
        assert database.started.cold is True
        assert database.judge(count_items, RIGHT).strict_passed
        assert database.content_hashes() == before


def test_a_query_that_falls_with_the_server_is_tried_again(database: Database, count_items: Problem) -> None:
    """When one backend crashes the server throws out all others: their queries have done nothing wrong."""
    database.judge(count_items, RIGHT)
    with psycopg.connect(database._access.admin("shop"), autocommit=True) as admin:
        found = admin.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'codecard_judge'").fetchone()
    assert found is not None
    os.kill(int(found[0]), signal.SIGKILL)
    assert database.judge(count_items, RIGHT).strict_passed


def test_a_query_deaf_to_its_timeout_is_broken_off(toy: Toy, postgres: str, count_items: Problem) -> None:
    """A backend that no longer listens must not hold up the run for ever."""
    definition, folder = toy
    options = DatabaseOptions(server=postgres, timeout_s=1)
    slow = "SELECT count(*) FROM depot.stock a, depot.stock b, depot.stock c, depot.stock d, depot.stock e"
    with open_database(definition, options, data_dir=folder) as database:
        database.judge(count_items, RIGHT)
        session = database._idle["shop"][0]
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(database.judge(count_items, slow)))
        os.kill(session.pid, signal.SIGSTOP)
        try:
            thread.start()
            thread.join(60)
        finally:
            os.kill(session.pid, signal.SIGCONT)
        assert [outcome.outcome for outcome in outcomes] == [Outcome.TIMEOUT]
        assert database.judge(count_items, RIGHT).strict_passed


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to wait for a process of another")
def test_a_run_that_is_killed_takes_its_server_along(postgres: str, data_dir: Path) -> None:
    """Cancelled CI jobs would leave a server each, until the machine is full of them."""
    script = f"""import sys
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.definition import definition
with open_database(definition("2024-03"), DatabaseOptions(server={postgres!r})) as database:
    print(database.started.pid, flush=True)
    sys.stdin.read()"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        server = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
    try:
        assert select.select([server], [], [], 60)[0], "the server still runs"
    finally:
        os.close(server)


def test_two_runs_at_once_do_not_share_a_cluster(toy: Toy, postgres: str, count_items: Problem) -> None:
    """The first to end would stop the other's server."""
    definition, folder = toy
    options = DatabaseOptions(server=postgres)
    with open_database(definition, options, data_dir=folder) as one:
        with open_database(definition, options, data_dir=folder) as other:
            assert one.started.pid != other.started.pid
            assert other.judge(count_items, RIGHT).strict_passed
        assert one.judge(count_items, RIGHT).strict_passed


def test_a_cluster_is_used_again_after_an_orderly_end(toy: Toy, postgres: str) -> None:
    definition, folder = toy
    options = DatabaseOptions(server=postgres, as_of=parse_day("2024-03-02"))
    with open_database(definition, options, data_dir=folder):
        pass
    with pytest.raises(KeyError), open_database(definition, options, data_dir=folder):
        raise KeyError  # a run that fails for its own reasons still ends in order
    with open_database(definition, options, data_dir=folder) as database:
        assert database.started.cold is False


# ---------------------------------------------------------------- a server given by URL


def _url(database: Database, user: str = "codecard") -> str:
    return conninfo.make_conninfo(database._access.admin("postgres"), user=user)


def test_a_given_server_judges_like_our_own(database: Database, toy: Toy, count_items: Problem) -> None:
    """--database-url: databases of its own beside whatever is there, the same date, the same closed role."""
    definition, folder = toy
    for _ in range(2):  # made the first time, found the second
        with open_database(definition, DatabaseOptions(url=_url(database)), data_dir=folder) as given:
            assert given.facts["clock"] == "rewrite"
            assert given.check_golds(load(definition, folder / "sql")).failed == {}
            assert given.judge(count_items, RIGHT).strict_passed
            assert given.judge(count_items, "SELECT pg_read_file('/etc/passwd')").outcome is Outcome.ERROR
            assert given.judge(count_items, "DROP TABLE item").outcome is Outcome.REFUSED
            assert _rows(given, "SELECT CURRENT_DATE::text").rows == (("2024-02-29",),)


def test_a_given_server_that_does_not_answer_is_one_line(toy: Toy, tmp_path: Path) -> None:
    definition, folder = toy
    options = DatabaseOptions(url=f"host={tmp_path} user=codecard")
    with (
        pytest.raises(UsageError, match="--database-url") as caught,
        open_database(definition, options, data_dir=folder),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_given_server_without_the_right_to_close_is_refused(database: Database, toy: Toy) -> None:
    """A role that cannot revoke cannot make the database safe."""
    definition, folder = toy
    options = DatabaseOptions(url=conninfo.make_conninfo(_url(database, "codecard_judge"), dbname="shop"))
    with pytest.raises(UsageError, match="superuser"), open_database(definition, options, data_dir=folder):
        pass


def test_a_given_server_too_old_is_refused(database: Database, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    definition, folder = toy
    monkeypatch.setattr(opening, "OLDEST", 99)
    options = DatabaseOptions(url=_url(database))
    with pytest.raises(UsageError, match="too old; 99 or newer"), open_database(definition, options, data_dir=folder):
        pass


def test_programs_too_old_or_absent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no PostgreSQL server there"):
        find_binaries(str(tmp_path))
    for name in ("initdb", "pg_ctl", "postgres"):
        script = tmp_path / name
        script.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(UsageError, match=r"13\.4 is too old"):
        find_binaries(str(tmp_path))


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"sql\.as_of: 'last Tuesday' is not a date"):
        parse_day("last Tuesday")


# ---------------------------------------------------------------- golds and copies


def test_the_sort_keys_of_a_gold_are_read_though_it_does_not_show_them(database: Database) -> None:
    """ORDER BY an expression: without its keys, ties could not be told from an order."""
    found = gold_result("SELECT name FROM item ORDER BY length(name) DESC", lambda sql: _rows(database, sql))
    assert found.accepted[0].groups == (1, 2, 1)  # chair; lamp and desk; pen


def test_a_limit_that_cuts_through_ties_accepts_any_of_them(database: Database) -> None:
    """Which of two equals comes first is the server's whim; a query must not fail for it."""
    found = gold_result("SELECT name FROM item ORDER BY length(name) DESC LIMIT 2", lambda sql: _rows(database, sql))
    results = {frozenset(row[0] for row in gold.rows.rows) for gold in found.accepted}
    assert found.tied
    assert results == {frozenset({"chair", "lamp"}), frozenset({"chair", "desk"})}


def test_golds_come_back_from_disk_as_they_were(database: Database, tmp_path: Path) -> None:
    """A type lost in the cache would turn right answers wrong from the second run on."""
    query = """SELECT 1, 1.50, 0.1::float8, 'x', NULL, true, DATE '2024-02-29', now()::timestamp, now(), TIME '12:00',
      interval '1 day 2 hours', ARRAY[1.5, NULL], '{"a": [1]}'::jsonb, '\\x00ff'::bytea, 'infinity'::float8
      FROM item ORDER BY price LIMIT 2"""
    made = gold_result(query, lambda sql: _rows(database, sql))
    cache = GoldCache(tmp_path / "golds.json")
    assert cache.get("shop", query, lambda: made) is made
    cache.save()

    def never() -> NoReturn:
        raise AssertionError("computed again")

    assert GoldCache(tmp_path / "golds.json").get("shop", query, never) == made


def test_perturbed_copies_unmask_a_query_that_is_right_by_luck(database: Database, count_items: Problem) -> None:
    """On small data many a wrong query gives the right number."""
    lucky = "SELECT 4 WHERE EXISTS (SELECT FROM item)"
    outcome = database.judge(count_items, lucky)
    assert (outcome.strict_passed, outcome.robust_passed) == (True, False)
    assert database.judge(count_items, "SELECT count(name) FROM item").robust_passed


def test_copies_are_the_same_every_time(database: Database, toy: Toy, postgres: str) -> None:
    """A seed that drifts would make `robust` irreproducible."""
    definition, folder = toy
    names = [copy for copies in database._access.copies.values() for copy in copies]

    def contents(opened: Database) -> list[object]:
        return [
            opened._run(name, "SELECT t::text FROM item t ORDER BY 1", Caps()).rows for name in names if "shop" in name
        ]

    first = contents(database)
    with open_database(definition, DatabaseOptions(server=postgres, robust=True), data_dir=folder) as again:
        assert contents(again) == first
    assert len(set(map(str, first))) == len(first)
