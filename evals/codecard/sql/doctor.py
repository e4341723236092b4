"""Proof that the database does what a run leans on: it starts, is closed, keeps the date, and its golds pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codecard.model import CodecardError, GoldSql, Problem
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.definition import SqlDefinition, data_folder, load

if TYPE_CHECKING:
    from codecard.sql.database import Database

ATTACKS = {
    "writing": "DELETE FROM author",
    "a second statement": "SELECT 1; COMMIT; DROP TABLE author",
    "programs": "COPY author TO PROGRAM 'true'",
    "files": "SELECT pg_read_file('/etc/passwd')",
    "parameters": "SELECT set_config('statement_timeout', '0', false)",
    "other sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "locks": "SELECT pg_advisory_lock(1)",
    "memory": "SELECT repeat('x', 900000000)",
}
"""One of each kind; the conformance suite has the others."""


@dataclass(frozen=True, slots=True)
class SqlFinding:
    name: str
    fine: bool
    seen: str


def diagnose(
    version: SqlDefinition, options: DatabaseOptions | None = None, data_dir: Path | None = None
) -> list[SqlFinding]:
    """What was found, in order; never raises for it. Ends early where the server cannot be had."""
    findings: list[SqlFinding] = []
    try:
        problems = load(version, data_folder(version, data_dir))
        findings.append(SqlFinding("data", True, f"{len(problems)} questions of {version.name}"))
        with open_database(version, options, data_dir=data_dir) as database:
            findings += list(_look(database, problems))
    except CodecardError as error:
        findings.append(SqlFinding("server" if findings else "data", False, str(error)))
    return findings


def _look(database: Database, problems: list[Problem]) -> Iterator[SqlFinding]:
    facts, started = database.facts, database.started
    how = f"{started.server}, {'cold' if started.cold else 'warm'} in {started.seconds:.2f} s"
    yield SqlFinding("server", True, f"PostgreSQL {facts['postgres']}, {how}")
    checker = problems[0].checker
    assert isinstance(checker, GoldSql)
    gold = GoldSql(database=checker.database, queries=(f"SELECT DATE '{facts['as_of']}'",))
    same = Problem(task="sql/date", id="doctor", cluster="doctor", prompt="", checker=gold)
    kept = database.judge(same, "SELECT CURRENT_DATE")
    seen = f"{facts['as_of']} by {facts['clock']}" if kept.strict_passed else kept.reason
    yield SqlFinding("date", bool(kept.strict_passed), seen)
    before = database.content_hashes()
    for name, attack in ATTACKS.items():
        outcome = database.judge(same, attack)
        stopped = outcome.row_count is None and not outcome.void
        yield SqlFinding(f"closed: {name}", stopped, outcome.reason or outcome.outcome.value)
    unchanged = database.content_hashes() == before
    yield SqlFinding("content", unchanged, "unchanged" if unchanged else "changed")
    report = database.check_golds(problems)
    first = next((f"{problem}: {why}" for problem, why in report.failed.items()), "")
    seen = f"{report.queries} queries of {report.questions} questions pass themselves"
    yield SqlFinding("golds", not report.failed, first or seen)
