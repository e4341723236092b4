"""A run folder that version 0.1 wrote (three Python problems, one of them wrong): read, resumed and compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import codecard as library
from e2e_types import Command
from folders import read_executions, read_manifest, read_rows, read_scores

OLD = Path(__file__).parent.parent / "data" / "version_0.1"
NUMBER = pytest.approx(2 / 3)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODECARD_CACHE", str(tmp_path / "cache"))  # limits as on a machine that was never measured
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def test_its_numbers_are_read_as_they_were_written(codecard: Command, run: Path) -> None:
    written = read_scores(run)["starter/py"]["pass@1"]
    assert library.load_run(run).estimates["starter/py"]["pass@1"].value == written["value"] == NUMBER
    done = codecard("report", run, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"]["starter/py"]["pass@1"] == written


def test_it_stays_comparable_with_a_run_of_today(codecard: Command, docker_engine: None, run: Path) -> None:
    new = run.parent / "new"
    options = ("--model", f"replay:{OLD / 'model.jsonl'}", "--suite", "starter", "--languages", "py", "--greedy")
    made = codecard("run", *options, "--prompt-style", "raw", "--limit", 3, "--out", new)
    assert made.returncode == 0, made.stderr
    done = codecard("compare", run, new, "--json", "--gate")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["decision"], facts["delta"], facts["tasks"]["starter/py"]["n"]) == ("no regression", 0.0, 3)


def test_it_goes_on_where_it_stopped(codecard: Command, docker_engine: None, run: Path) -> None:
    """What it had generated is not asked again; what is added is there for every reader."""
    before = read_rows(run / "completions.jsonl")
    options = ("--model", f"replay:{OLD / 'model.jsonl'}", "--suite", "starter", "--languages", "py", "--greedy")
    done = codecard("run", *options, "--prompt-style", "raw", "--limit", 5, "--out", run)
    assert done.returncode == 0, done.stderr
    assert read_rows(run / "completions.jsonl")[: len(before)] == before
    assert len(read_executions(run)) == 5
    assert read_scores(run)["starter/py"]["pass@1"]["n"] == 5
    assert read_manifest(run)["format"] == 2


@pytest.mark.parametrize(
    ("changed", "field"), [(("--prompt-style", "chat"), "asking.starter"), (("--profile", "strict"), "profile.name")]
)
def test_it_is_not_continued_in_another_way(
    codecard: Command, docker_engine: None, run: Path, changed: tuple[str, ...], field: str
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    options = ("--model", f"replay:{OLD / 'model.jsonl'}", "--suite", "starter", "--languages", "py", "--greedy")
    done = codecard("run", *options, "--prompt-style", "raw", *changed, "--limit", 3, "--out", run)
    assert done.returncode == 2
    assert f"another {field}" in done.stderr
    assert {name: (run / name).read_bytes() for name in before} == before
