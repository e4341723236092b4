"""The SQL suite from files to table: what a user sees, a server killed in mid-run, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.model import GoldSql, Outcome
from codecard.runs.pipeline import RunPlan, Watcher, score
from codecard.runs.reading import read_run
from codecard.settings import load_profile
from codecard.sql.definition import definition, load
from codecard.suites import find_suite
from codecard.suites.sql.suite import SqlOptions, SqlSession, SqlSuite
from codecard.suites.suite import Setting, Work

pytestmark = [pytest.mark.postgres, pytest.mark.data]


def codecard(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from codecard.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "CODECARD_DATA": str(data), "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def golds(data_dir: Path, tmp_path: Path) -> Path:
    """The golds of five questions of each category as a completion file, the last one replaced by nonsense."""
    lines, taken = [], Counter[str]()
    for problem in load(definition("2024-03"), data_dir / "sql"):
        assert isinstance(problem.checker, GoldSql)
        taken[problem.task] += 1
        if taken[problem.task] > 5:
            continue
        # a file may call the category by the benchmark's own name
        row = {"task": f"sql/{problem.checker.category}", "problem": problem.id, "sample": 0}
        lines.append({**row, "completion": problem.checker.queries[0] + ";"})
    lines[-1]["completion"] = "SELECT nonsense"
    path = tmp_path / "golds.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_completions_are_scored_into_the_card_s_table(data_dir: Path, golds: Path, tmp_path: Path) -> None:
    """One command from a file of answers to the six columns, with both comparers in every row."""
    done = codecard("score", golds, "--suite", "sql", "--out", tmp_path / "run", data=data_dir)
    assert done.returncode == 0, done.stderr
    for title in ("Date", "Group By", "Order By", "Ratio", "Join", "Where", "96.7%"):
        assert title in done.stdout
    executions = _rows(tmp_path / "run" / "executions.jsonl")
    assert len(executions) == 30
    assert all({"reference_passed", "strict_passed", "passed"} <= row.keys() for row in executions)
    assert sorted({row["task"] for row in executions})[0] == "sql/date"
    scores = json.loads((tmp_path / "run" / "scores.json").read_text("utf-8"))
    assert scores["sql/date"]["pass@1"]["value"] == 1.0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert manifest["facts"]["sql"]["comparable"]["databases"]["2024-03"]["as_of"] == "2024-03-06"
    assert any("counts the verdicts of `reference`" in line for line in read_run(tmp_path / "run").remarks)


def test_result_files_of_sql_eval_are_read(data_dir: Path, tmp_path: Path) -> None:
    """Numbers of an earlier evaluation can be judged again without asking the model again."""
    problem = load(definition("2024-03"), data_dir / "sql")[0]
    assert isinstance(problem.checker, GoldSql)
    cells = (problem.checker.question, problem.checker.database, problem.checker.queries[0])
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    (tmp_path / "results.csv").write_text(f"question,db_name,generated_query\n{quoted}\n", "utf-8")
    done = codecard("score", tmp_path / "results.csv", "--suite", "sql", "--out", tmp_path / "run", data=data_dir)
    assert done.returncode == 0, done.stderr
    assert [(row["problem"], row["passed"]) for row in _rows(tmp_path / "run" / "executions.jsonl")] == [
        (problem.id, True)
    ]


@pytest.mark.parametrize(
    ("row", "options", "complaint"),
    [
        ({"problem": "gen200/4711"}, (), "no question 'gen200/4711' with a gold query"),
        ({}, ("--set", "sql.as_of=soon"), "sql.as_of: 'soon' is not a date"),
        ({}, ("--set", "sql.version=2023"), "no SQL version '2023'"),
        ({}, ("--database-url", "host=/nowhere user=nobody"), "--database-url: "),
        ({"task": "multipl_e/py"}, (), "is not of suite 'sql'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    data_dir: Path, tmp_path: Path, row: dict[str, str], options: tuple[str, ...], complaint: str
) -> None:
    """A traceback, or a run folder that holds half a run, is no answer to a typing error."""
    line = {"task": "sql/where", "problem": "gen200/170", "sample": 0, "completion": "SELECT 1", **row}
    (tmp_path / "answers.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    file, out = tmp_path / "answers.jsonl", tmp_path / "run"
    done = codecard("score", file, "--suite", "sql", "--out", out, *options, data=data_dir)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


class _Killer(SqlSession):
    """Kills its server when half the work is done."""

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        items = list(works)
        yield from super().evaluate(items[: len(items) // 2])
        os.kill(self._databases["2024-03"].started.pid, signal.SIGKILL)
        yield from super().evaluate(items[len(items) // 2 :])


def test_a_server_killed_in_mid_run_leaves_voids_that_a_resume_fills(
    data_dir: Path, golds: Path, tmp_path: Path
) -> None:
    """The machine's failure must neither lower the score nor lose what was done before it."""
    suite = find_suite("sql")
    setting = Setting(profile=load_profile("card-2024-03"), data_dir=data_dir)
    options = suite.configured(setting.profile)
    assert isinstance(suite, SqlSuite)
    assert isinstance(options, SqlOptions)
    lines = golds.read_text().splitlines(keepends=True)
    golds.write_text("".join(lines[:-1]))
    voids = []
    for kind in (_Killer, SqlSession):
        session = kind(suite, setting, options, [golds])
        plan = RunPlan(out=tmp_path / "run", profile=setting.profile, files=(str(golds),))
        run = score(plan, [session], Watcher())
        voids.append(len(run.voids))
        assert {found.who for found in run.voids} <= {"database"}
        values = {metrics["pass@1"].value for metrics in run.estimates.values()}
        assert values <= {1.0, None}  # what was judged was judged right; what was not has no value
    assert voids[0] >= 6
    assert voids[1] == 0
