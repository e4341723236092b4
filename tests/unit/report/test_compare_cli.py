"""`codecard compare`, `baseline` and `report`: exit codes, the JSON contract, and one clear line for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from codecard.cli import app
from codecard.model import CodecardError, UsageError

MakeRun = Callable[..., Path]
GOOD = {f"multipl_e/py:HumanEval_{i}_f": ["passed"] for i in range(40)}
BAD = {key: ["passed" if i >= 15 else "wrong"] for i, key in enumerate(GOOD)}


@pytest.fixture(autouse=True)
def _no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def call(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def refusal(*args: object) -> str:
    """The one line that a bad call is refused with."""
    error = call(*args).exception
    assert isinstance(error, UsageError)
    assert isinstance(error, CodecardError)
    assert error.exit_code == 2
    assert "\n" not in str(error)
    return str(error)


def test_the_exit_code_of_the_gate_is_its_decision(make_run: MakeRun) -> None:
    """CI reads nothing but the exit code: 0 no regression, 1 regression, 4 cannot tell; 0 without --gate."""
    good, bad = make_run("good", GOOD), make_run("bad", BAD)
    void = make_run("void", {key: ["sandbox_error"] for key in GOOD})
    half = make_run("half", {key: ["passed" if i % 2 else "sandbox_error"] for i, key in enumerate(GOOD)})
    few = make_run("few", {key: ["passed" if i else "wrong"] for i, key in enumerate(GOOD)})
    assert call("compare", good, good, "--gate").exit_code == 0
    assert call("compare", bad, good, "--gate").exit_code == 0
    assert call("compare", good, bad, "--gate").exit_code == 1
    assert call("compare", good, void, "--gate").exit_code == 4
    assert call("compare", good, half, "--gate").exit_code == 4
    assert call("compare", good, few, "--gate").exit_code == 4
    assert call("compare", good, bad).exit_code == 0


def test_the_json_names_all_that_a_script_needs(make_run: MakeRun) -> None:
    """Decision, delta, interval, p, detectable effect and flips: per task, pooled, and at the top."""
    result = call("compare", make_run("good", GOOD), make_run("bad", BAD), "--json")
    facts = json.loads(result.stdout)
    assert facts["decision"] == "regression"
    for part in (facts, facts["tasks"]["multipl_e/py"], facts["pooled"]["multipl_e"]):
        assert part["delta"] == pytest.approx(-0.375)
        assert part["low"] < -0.375 < part["high"] < 0
        assert 0 < part["p"] < 0.001
        assert 0 < part["detectable"] < 0.5
        assert part["flips"]["gained"] == []
        first = {"task": "multipl_e/py", "problem": "HumanEval_0_f", "base": 1.0, "new": 0.0}
        assert part["flips"]["lost"][0] == first
        assert len(part["flips"]["lost"]) == 15


def test_the_table_fits_a_terminal(make_run: MakeRun) -> None:
    """Eighty columns: no cell is cut to an ellipsis, and the flips are named."""
    result = call("compare", make_run("good", GOOD), make_run("bad", BAD))
    assert "…" not in result.stdout
    assert "no regression" not in result.stdout
    assert "−37.5 (" in result.stdout
    assert "lost (15): multipl_e/py:HumanEval_0_f, " in result.stdout


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profile", {"name": "card-2024-03", "key": "9"}),
        ("data", {"multipl_e/py": "cccc"}),
        ("limits", {"multipl_e/py": "3"}),
    ],
)
def test_runs_of_other_questions_or_rules_are_refused_by_name(make_run: MakeRun, field: str, value: Any) -> None:
    """A difference of data, profile or limits is no difference of models."""
    same = {"judge": {"name": "gpt-4"}, "sql": {"databases": {"newest": {"postgres": "18", "pid": 2}}}}
    good, other = make_run("good", GOOD, **same), make_run("other", GOOD, **{**same, field: value})
    assert f"differ in {field}" in refusal("compare", good, other)
    result = call("compare", good, other, "--ignore", field)
    assert result.exit_code == 0
    assert f"The runs differ in {field}" in result.stdout.replace("\n", " ")


def test_other_images_are_told(make_run: MakeRun) -> None:
    """A rebuilt image may move a verdict: compared, with a note that names it."""
    other = make_run("other", GOOD, images={"py": "sha256:99"}, samples=1)
    result = call("compare", make_run("good", GOOD), other, "--json")
    assert [m["field"] for m in json.loads(result.stdout)["differs"]] == ["images.py"]


def test_runs_without_a_common_task_are_refused(make_run: MakeRun) -> None:
    """SQL against Python is a mistake in the command, not a comparison."""
    sql = make_run("sql", {"sql/date:12": ["passed"]})
    assert "nothing to compare" in refusal("compare", make_run("good", GOOD), sql)
    both = make_run("both", {**GOOD, "multipl_e/cpp:HumanEval_0_f": ["passed"]})
    assert "differ in tasks" in refusal("compare", make_run("good2", GOOD), both)


def test_bad_folders_are_one_clear_line(make_run: MakeRun, tmp_path: Path) -> None:
    """Missing, empty, not a run, a broken journal line, a row without its problem, a bad margin."""
    good = make_run("good", GOOD)
    empty = make_run("empty", {})
    assert "an empty run" in refusal("compare", good, empty)
    assert "no such run folder" in refusal("compare", good, tmp_path / "nowhere")
    assert "no manifest.json" in refusal("report", tmp_path)
    assert "--margin 3" in refusal("compare", good, good, "--margin", "3")
    assert "1 runs given" in refusal("compare", good)
    journal = good / "executions.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], '{"task": \n', *lines[3:]]))
    result = call("compare", good, good)
    assert isinstance(result.exception, CodecardError)
    assert "executions.jsonl:4" in str(result.exception)
    journal.write_text("".join([*lines[:3], '{"task": "multipl_e/py", "sample": 0}\n']))
    assert "executions.jsonl:4: no field 'problem'" in refusal("compare", good, good)


def test_a_torn_last_line_is_a_missing_sample_not_an_error(make_run: MakeRun) -> None:
    """A run that was killed while writing still compares; the lost sample is void."""
    good, torn = make_run("good", GOOD), make_run("torn", GOOD)
    text = (torn / "executions.jsonl").read_text()
    (torn / "executions.jsonl").write_text(text[:-20])
    facts = json.loads(call("compare", good, torn, "--json").stdout)
    assert facts["pooled"]["multipl_e"]["void"] == 1
    assert facts["decision"] == "cannot tell"


def test_a_baseline_is_small_and_compares_as_its_run_does(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CI keeps in the repository: no completions, the same decision as with the run itself."""
    monkeypatch.chdir(tmp_path)
    samples = {key: ["passed", "wrong", "sandbox_error"] if i % 3 else ["passed"] * 3 for i, key in enumerate(GOOD)}
    good, bad = make_run("good", samples), make_run("bad", {key: ["wrong"] * 3 for key in samples})
    assert call("baseline", "save", good, "main").exit_code == 0
    saved = tmp_path / "results" / "baselines" / "main.json"
    assert "return 0" not in saved.read_text()
    assert saved.stat().st_size < 5000
    with_run = json.loads(call("compare", good, bad, "--json").stdout)
    with_baseline = json.loads(call("compare", "--baseline", "main", bad, "--json").stdout)
    assert with_baseline["base"] == "main"
    assert with_baseline["pooled"] == with_run["pooled"]
    assert call("compare", "--baseline", "main", bad, "--gate").exit_code == 1
    assert "holds no programs" in refusal("compare", "--baseline", "main", bad, "--html", tmp_path / "x.html")
    assert "baseline name" in refusal("baseline", "save", good, "../escape")
    assert "nowhere.json" in refusal("compare", "--baseline", "nowhere", bad)
    saved.write_text('{"format": "codecard-baseline-1", "name": "x", "outcomes": 3}')
    assert "damaged baseline" in refusal("compare", "--baseline", "main", bad)


def test_report_writes_every_format_into_the_run(make_run: MakeRun) -> None:
    """The names of the files are a contract that CI uploads."""
    run = make_run("good", GOOD)
    result = call("report", run, "--format", "html", "--format", "junit", "--format", "summary", "--format", "md")
    assert result.exit_code == 0
    for name in ("report.html", "junit.xml", "summary.md", "tables.md"):
        assert (run / name).stat().st_size > 100
    assert json.loads(call("report", run, "--json").stdout)["scores"]["multipl_e/py"]["pass@1"]["n"] == 40
    assert "1.00" in call("report", run).stdout
    assert "exactly one" in refusal("report", run, "--out", run / "x")


def test_the_step_summary_is_appended_where_ci_names_a_file(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier steps of the job wrote there too: nothing of theirs is lost."""
    target = tmp_path / "step.md"
    target.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    call("compare", make_run("good", GOOD), make_run("bad", BAD))
    text = target.read_text()
    assert text.startswith("before\n## bad against good: regression\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "folder"))
    assert "cannot write the step summary" in refusal("compare", tmp_path / "good", tmp_path / "bad")
