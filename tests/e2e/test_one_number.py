"""Commands on one folder, one after the other: the folder holds all that they asked, and tells one number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import codecard as library
from codecard.paths import tasks_dir
from e2e_types import Command
from folders import read_scores

pytestmark = pytest.mark.docker
TASK = "starter/py"


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, str]]:
    """Kind → problem → completion, of the Python problems."""
    found: dict[str, dict[str, str]] = {"good": {}, "wrong": {}}
    for row in map(json.loads, (tasks_dir() / TASK).with_suffix(".programs.jsonl").read_text().splitlines()):
        if row["kind"] in found:
            found[row["kind"]][row["name"]] = row["completion"]
    return found


def completions(path: Path, texts: dict[str, str]) -> Path:
    rows = [{"task": TASK, "problem": name, "sample": 0, "completion": text} for name, text in texts.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(codecard: Command, run: Path) -> dict[str, Any]:
    """The folder's one number, as every reader tells it."""
    written = read_scores(run)[TASK]["pass@1"]
    report = json.loads(codecard("report", run, "--json").stdout)["scores"][TASK]["pass@1"]
    compared = json.loads(codecard("compare", run, run, "--json").stdout)["tasks"][TASK]
    loaded = library.load_run(run).estimates[TASK]["pass@1"]
    assert report == written
    assert (loaded.value, loaded.n) == (written["value"], written["n"])
    assert (compared["base"], compared["n"]) == (pytest.approx(written["value"]), written["n"])
    table = (run / "tables.md").read_text()
    assert codecard("report", run, "--format", "md").returncode == 0
    assert (run / "tables.md").read_text() == table
    return dict(written)


def test_files_scored_one_after_the_other_make_one_score(
    codecard: Command, docker_engine: None, tmp_path: Path, answers: dict[str, dict[str, str]]
) -> None:
    good, wrong = answers["good"], answers["wrong"]
    failing = dict(list(wrong.items())[:3])
    passing = {name: text for name, text in good.items() if name not in failing}
    first = completions(tmp_path / "a.jsonl", failing)
    second = completions(tmp_path / "b.jsonl", dict(list(passing.items())[:4]))
    run = tmp_path / "run"
    for file, value, n in ((first, 0.0, 3), (second, 4 / 7, 7), (first, 4 / 7, 7)):
        done = codecard("score", file, "--suite", "starter", "--out", run)
        assert done.returncode == 0, done.stderr
        number = told(codecard, run)
        assert (number["value"], number["n"]) == (pytest.approx(value), n)


def test_a_smaller_plan_leaves_the_larger_one_standing_and_says_so(
    codecard: Command, docker_engine: None, tmp_path: Path, answers: dict[str, dict[str, str]]
) -> None:
    model = completions(tmp_path / "model.jsonl", answers["good"])
    run = tmp_path / "run"
    options = ("--model", f"replay:{model}", "--suite", "starter", "--languages", "py", "--greedy",
               "--prompt-style", "raw", "--out", run)  # fmt: skip
    for limit, n in ((6, 6), (2, 6), (7, 7)):
        done = codecard("run", *options, "--limit", limit)
        assert done.returncode == 0, done.stderr
        assert ("was asked for more before: 6 samples, 4 of them not now" in done.stderr) == (limit == 2)
        assert told(codecard, run)["n"] == n
