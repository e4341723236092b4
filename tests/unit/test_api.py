"""codecard from Python: objects with typed fields, frames and tables, and the same folder as the command line's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import codecard
from codecard.files import Row
from codecard.runs.pipeline import Watcher
from folders import read_manifest, read_rows, read_scores

pytestmark = pytest.mark.usefixtures("sums")


def test_a_run_has_estimates_samples_frames_and_a_table(tmp_path: Path) -> None:
    run = codecard.run(model="abacus:hasty", suite="sums", limit=6, out=tmp_path / "run", progress=False)
    estimate = run.estimates["sums/plus"]["pass@1"]
    assert (estimate.value, estimate.n) == (0.5, 6)
    assert run.missing == ""
    assert [sample.value for sample in run.samples if sample.task == "sums/plus"] == [1, 1, 1, 0, 0, 0]
    assert run.scores.groupby("task").value.mean().to_dict() == {"sums/plus": 0.5, "sums/minus": 0.5}
    assert list(run.completions.finish_reason.unique()) == ["eos"]
    assert len(run.executions) == len(run.scores) == 12
    assert "<table" in run._repr_html_()
    assert "0.50" in run._repr_html_()
    assert {path.name for path in run.to_parquet(tmp_path)} == {
        "completions.parquet", "executions.parquet", "scores.parquet",
    }  # fmt: skip
    assert codecard.load_run(tmp_path / "run").estimates == run.estimates


def test_completions_made_elsewhere_are_scored_from_python(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"task": "starter/py", "problem": "Starter_0_add_integers", "program": "x"}) + "\n")
    with pytest.raises(codecard.UsageError, match=r"not of suite 'multipl_e'"):
        codecard.score(file, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_two_runs_are_compared_by_object_and_by_path(tmp_path: Path) -> None:
    runs = [
        codecard.run(model=f"abacus:{name}", suite=["sums"], out=tmp_path / name, progress=False)
        for name in ("exact", "hasty")
    ]
    for sides in (runs, [tmp_path / "exact", tmp_path / "hasty"]):
        found = codecard.compare(*sides)
        assert found.decision is codecard.Decision.REGRESSION
        assert found.tasks["sums/plus"].delta == pytest.approx(-2 / 3)
        assert [mismatch.field for mismatch in found.differs] == []


def test_progress_is_silent_hooked_or_watched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    codecard.run(model="abacus:exact", suite="sums", limit=1, out=tmp_path / "a", progress=False)
    codecard.run(model="abacus:exact", suite="sums", limit=1, out=tmp_path / "b", progress=lines.append)
    seen: list[str] = []

    class Mine(Watcher):
        def generated(self, completion: codecard.Completion) -> None:
            seen.append(completion.problem)

    codecard.run(model="abacus:exact", suite="sums", limit=1, out=tmp_path / "c", progress=Mine())
    assert lines == ["sums: 2 completions to generate, 2 to execute"]
    assert seen == ["1_1", "1_1"]
    assert capfd.readouterr() == ("", "")


def test_a_configuration_is_kept_and_can_be_given_again(tmp_path: Path) -> None:
    """A TOML file, then the folder that it made: the same questions, the same numbers."""
    file = tmp_path / "run.toml"
    file.write_text('model = "abacus:hasty"\nsuites = ["sums"]\nlimit = 4\n[set.sums]\ntolerance = 1\n')
    first = codecard.run(config=file, out=tmp_path / "first", progress=False)
    again = codecard.run(config=tmp_path / "first", out=tmp_path / "again", progress=False)
    assert read_scores(tmp_path / "again") == read_scores(tmp_path / "first")
    assert first.estimates["sums/plus"]["pass@1"].value == 1.0
    kept = [read_manifest(tmp_path / name)["config"] | {"out": ""} for name in ("first", "again")]
    assert kept[0] == kept[1]
    assert again.manifest.config["set"] == {"sums": {"tolerance": 1}}


def test_a_suite_that_cannot_run_here_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    """Its numbers are missing, and the run says so; without any suite that can run nothing is written."""
    told: list[str] = []
    run = codecard.run(
        model="abacus:exact", suite=["sums", "mt_bench"], data_dir=tmp_path, out=tmp_path / "run", progress=told.append
    )
    assert run.estimates["sums/plus"]["pass@1"].value == 1.0
    assert any(line.startswith("mt_bench cannot run here: ") for line in told)
    assert run.missing.startswith("mt_bench did not run: ")
    with pytest.raises(codecard.CodecardError):
        codecard.run(model="abacus:exact", suite="mt_bench", data_dir=tmp_path, out=tmp_path / "no", progress=False)
    assert not (tmp_path / "no").exists()


def test_what_a_backend_does_not_answer_is_void_by_it_and_asked_again(tmp_path: Path) -> None:
    """Half of a journal taken away is half of the work: the rest is not asked twice."""
    run = tmp_path / "run"
    codecard.run(model="abacus:exact", suite="sums", out=run, progress=False)
    rows: list[Row] = read_rows(run / "completions.jsonl")
    for name in ("completions.jsonl", "executions.jsonl"):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:5]) + lines[5][:20])  # the last one torn
    told: list[str] = []
    again = codecard.run(model="abacus:exact", suite="sums", out=run, progress=told.append)
    assert told == [f"sums: {len(rows) - 5} completions to generate, {len(rows) - 5} to execute"]
    assert again.estimates["sums/average"]["pass@1"].value == 1.0
