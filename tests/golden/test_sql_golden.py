"""The published benchmark on real servers: golds, recorded verdicts, constants, other versions and other dates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from codecard.answers.sql import extract_sql
from codecard.model import GoldSql, InfrastructureError, Problem
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.binaries import find_binaries
from codecard.sql.database import Database
from codecard.sql.definition import definition, load
from codecard.sql.doctor import diagnose

pytestmark = [pytest.mark.postgres, pytest.mark.data]

GROUNDS = [("system", None), ("wheel", None), ("system", date(2025, 11, 22)), ("wheel", date(2027, 2, 28))]
"""Servers (PostgreSQL 15 and 18 where both are installed) and dates; None is the version's own."""


@dataclass(frozen=True)
class Ground:
    database: Database
    problems: dict[str, Problem]


def _open(version: str, server: str, day: date | None, data_dir: Path) -> Iterator[Ground]:
    loaded = load(definition(version), data_dir / "sql")
    options = DatabaseOptions(server=server, as_of=day)
    with open_database(definition(version), options, data_dir=data_dir) as database:
        yield Ground(database, {problem.id: problem for problem in loaded})


def _need(server: str, absent: Callable[[str, str], None]) -> None:
    try:
        find_binaries(server)
    except InfrastructureError as error:
        absent(f"no PostgreSQL ({server})", str(error))


@pytest.fixture(scope="module", params=GROUNDS, ids=lambda ground: f"{ground[0]}-{ground[1] or 'own date'}")
def newest(request: pytest.FixtureRequest, data_dir: Path, absent: Callable[[str, str], None]) -> Iterator[Ground]:
    server, day = request.param
    _need(server, absent)
    yield from _open("newest", server, day, data_dir)


@pytest.fixture(scope="module", params=["system", "wheel"])
def card(request: pytest.FixtureRequest, data_dir: Path, absent: Callable[[str, str], None]) -> Iterator[Ground]:
    _need(request.param, absent)
    yield from _open("2024-03", request.param, None, data_dir)


@pytest.fixture(scope="module")
def verdicts(data_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_dir / "sql" / "verdicts.jsonl").read_text("utf-8").splitlines()]


def gold_of(problem: Problem) -> GoldSql:
    assert isinstance(problem.checker, GoldSql)
    return problem.checker


def test_all_golds_of_the_card_pass_themselves(card: Ground) -> None:
    """Before any model is asked: 200 questions, 329 alternatives, and the two that any empty answer passes."""
    report = card.database.check_golds(card.problems.values())
    assert (report.questions, report.queries, report.failed) == (200, 329, {})
    assert set(report.known_bad) == {"gen200/56", "gen200/187"} == definition("2024-03").known_bad


def test_all_golds_of_the_newest_files_pass_themselves(newest: Ground) -> None:
    """314 questions, 487 alternatives, on every server and at every date; none finds nothing."""
    report = newest.database.check_golds(newest.problems.values())
    assert (report.questions, report.queries, report.failed, report.known_bad) == (314, 487, {}, ())


def test_recorded_verdicts_are_given_again(newest: Ground, verdicts: list[dict[str, Any]]) -> None:
    """`reference` says what the reference said, `strict` what is right, whatever the server and the date."""
    wrong = []
    for row in verdicts:
        problem = newest.problems[row["question_id"]]
        outcome = newest.database.judge(problem, extract_sql(row["pred"]))
        recorded = row["upstream_2024_02"]
        expected = (recorded["exact"] or recorded["subset"], row["expected"] == "pass", recorded["error"] or "")
        if (outcome.reference_passed, outcome.strict_passed, outcome.reference_error) != expected:
            wrong.append((row["id"], row["question_id"], row["op"], outcome))
    assert wrong == []
    assert len(verdicts) == 108


@pytest.mark.parametrize(
    "constant", ["SELECT NULL WHERE FALSE", "SELECT NULL", "SELECT 'unknown'", "SELECT 1 WHERE FALSE"]
)
def test_a_constant_answers_no_question(card: Ground, constant: str) -> None:
    """The newest reference gives an empty result a third of the questions; only the dead golds may take NULL."""
    outcomes = card.database.judge_many((problem, constant) for problem in card.problems.values())
    passed = {p for p, o in zip(card.problems, outcomes, strict=True) if o.reference_passed or o.strict_passed}
    assert passed <= (definition("2024-03").known_bad if constant == "SELECT NULL" else frozenset())


def test_one_passes_only_where_the_answer_is_one(card: Ground) -> None:
    """`SELECT 1` is right where the gold is that one cell, and nowhere else."""
    for problem in card.problems.values():
        strict = card.database.judge(problem, "SELECT 1").strict_passed
        checker = gold_of(problem)
        golds = [card.database._gold(checker.database, query).rows.rows for query in checker.queries]
        assert strict == (((1,),) in golds), problem.id


def test_right_answers_survive_the_perturbed_copies(data_dir: Path, verdicts: list[dict[str, Any]]) -> None:
    """`robust` may unmask the wrong; it must never fail an equivalent rewrite."""
    loaded = {problem.id: problem for problem in load(definition("newest"), data_dir / "sql")}
    options = DatabaseOptions(robust=True)
    with open_database(definition("newest"), options, data_dir=data_dir) as database:
        lost, robust = [], 0
        for row in verdicts:
            outcome = database.judge(loaded[row["question_id"]], extract_sql(row["pred"]))
            robust += bool(outcome.robust_passed)
            if row["expected"] == "pass" and not outcome.robust_passed:
                lost.append((row["id"], row["question_id"], row["op"], outcome.reason))
        assert lost == []
        assert robust == sum(row["expected"] == "pass" for row in verdicts)
        golds = [(problem, query) for problem in loaded.values() for query in gold_of(problem).queries]
        outcomes = database.judge_many(golds)
        assert [p.id for (p, _), o in zip(golds, outcomes, strict=True) if not o.robust_passed] == []


def test_the_doctor_finds_the_database_sound_and_says_what_is_not(data_dir: Path, tmp_path: Path) -> None:
    """A database that is off has to be known before the model is asked, not after."""
    found = diagnose(definition("2024-03"), data_dir=data_dir)
    assert [finding.name for finding in found if not finding.fine] == []
    assert {"server", "date", "content", "golds", "closed: files"} <= {finding.name for finding in found}
    for options, folder, part in (
        (DatabaseOptions(url=f"host={tmp_path}"), data_dir, "server"),
        (None, tmp_path, "data"),
    ):
        off = diagnose(definition("2024-03"), options, folder)[-1]
        assert (off.name, off.fine) == (part, False)
