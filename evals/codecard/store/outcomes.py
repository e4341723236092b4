"""A run read back: what was asked, written, executed and scored; and baselines, its smallest form.

Everything that a comparison or a report needs. A sample without an outcome is a void with its reason: planned
but not generated, generated but not executed, or void as the journal says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecard.card.measurements import estimates_of
from codecard.model import Completion, Estimate, Score, UsageError
from codecard.score import summarise
from codecard.store.journal import read_journal
from codecard.store.run_folder import (
    COMPLETIONS,
    EXECUTIONS,
    PROBLEMS,
    SCORES,
    STAGES,
    Row,
    RowId,
    completion_of,
    read_json,
    read_manifest,
    row_id,
    write_text,
)
from codecard.tasks.code import cluster_of

BASELINE_FORMAT = "codecard-baseline-1"
KEPT_FIELDS = (
    "profile", "suites", "model", "samples", "recipe", "data", "limits", "images", "toolchains", "sandbox",
    "judge", "mt_bench", "sql", "zero_shot", "fingerprint",
)  # fmt: skip
"""What a baseline keeps of the manifest: all that two runs must share, and whose they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What a comparison needs of a run or of a baseline."""

    name: str
    manifest: Row
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """A whole run folder in memory. `problems` is keyed by (task, problem); it may be empty in old runs."""

    path: Path
    manifest: Row
    problems: dict[tuple[str, str], Row] = field(default_factory=dict)
    completions: dict[RowId, Completion] = field(default_factory=dict)
    executions: dict[RowId, Row] = field(default_factory=dict)
    estimates: Row = field(default_factory=dict)
    stages: tuple[Row, ...] = ()
    """How busy generation and execution were, a row for each suite and start."""
    """Contents of scores.json; empty where the run did not get that far."""

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(self._score(key) for key in self._planned())

    @property
    def summary(self) -> dict[str, dict[str, Estimate]]:
        """Every task's estimates: pass@k from its outcomes, any other metric from scores.json.

        A rated sample's value pools its turns, and a mean over the samples that are whole would turn the
        refusal of a score into a score; a zero-shot task has its own metric. Only its suite knows these rules.
        """
        kept = {
            task: found
            for task, found in self.estimates.items()
            if isinstance(found, dict) and found and not any(name.startswith("pass@") for name in found)
        }
        own: dict[str, dict[str, Estimate]] = {}
        for (task, metric), estimate in estimates_of(kept, str(self.path / SCORES)).items():
            own.setdefault(task, {})[metric] = estimate
        return summarise(score for score in self.scores if score.task not in own) | own

    @property
    def outcomes(self) -> Outcomes:
        return Outcomes(name=self.name, manifest=self.manifest, scores=self.scores)

    def _planned(self) -> Iterable[RowId]:
        """Every sample that counts. Completions made elsewhere were not planned: those that came are all.

        A problem marked `outside` was run at the user's wish and belongs to no score.
        """
        samples = self.manifest.get("samples") if self.manifest.get("recipe") else 0
        planned = [
            (task, problem, sample)
            for task, problem in self.problems
            for sample in range(samples if isinstance(samples, int) else 0)
        ]
        outside = {key for key, row in self.problems.items() if row.get("outside")}
        return [key for key in dict.fromkeys([*planned, *self.completions, *self.executions]) if key[:2] not in outside]

    def _score(self, key: RowId) -> Score:
        task, problem, sample = key
        row = self.executions.get(key)
        value: float | None = None
        void = ""
        if row is None:
            void = "not executed" if key in self.completions else "not generated"
        else:
            # A judge's row carries its rating in `value`; a program's row only whether it passed.
            found = row.get("value", row.get("passed"))
            value = None if found is None else float(found)
            void = "" if value is not None else str(row.get("void") or row.get("reason") or "void")
        cluster = str(self.problems.get((task, problem), {}).get("cluster") or _cluster(problem))
        return Score(task=task, problem=problem, cluster=cluster, sample=sample, value=value, void=void)


def _cluster(problem: str) -> str:
    return cluster_of(problem) if problem.startswith(("HumanEval_", "Starter_")) else problem


def read_run(path: Path) -> RunData:
    """Read a run folder. Raises UsageError in one line when it is none, is empty, or holds a broken row."""
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    manifest = read_manifest(path)
    problems = {
        (str(row["task"]), str(row.get("problem", row.get("id")))): row for row in _rows(path / PROBLEMS, ("task",))
    }
    completions = {}
    for row in _rows(path / COMPLETIONS, ("task", "problem", "sample")):
        if not isinstance(row.get("answer", row.get("completion")), str):
            raise UsageError(f"{path / COMPLETIONS}: {row['task']} {row['problem']}: no text in 'completion'")
        completions[row_id(row)] = completion_of(row)
    executions = {row_id(row): row for row in _rows(path / EXECUTIONS, ("task", "problem", "sample"))}
    if not completions and not executions:
        raise UsageError(f"{path}: an empty run: no completions and no executions")
    estimates = read_json(path / SCORES) if (path / SCORES).exists() else {}
    return RunData(
        path=path,
        manifest=manifest,
        problems=problems,
        completions=completions,
        executions=executions,
        estimates=estimates,
        stages=tuple(read_journal(path / STAGES)),
    )


def _rows(path: Path, needed: tuple[str, ...]) -> Iterable[Row]:
    for number, row in enumerate(read_journal(path), 1):
        missing = next((name for name in needed if name not in row), None)
        if missing:
            raise UsageError(f"{path}:{number}: no field {missing!r}")
        yield row


# ---------------------------------------------------------------- baselines


def read_outcomes(path: Path) -> Outcomes:
    """A run folder, or a baseline file."""
    return read_baseline(path) if path.is_file() else read_run(path).outcomes


def write_baseline(run: RunData, path: Path, name: str) -> None:
    """One small file: the kept part of the manifest, scores.json, and each problem's outcomes.

    A problem's outcomes are one character a sample (`1` passed, `0` not, `v` void, `-` no such sample), or a
    list of values; one line a problem, so that a new baseline is a readable diff. `clusters` holds those that
    a problem's name does not tell.
    """
    kept = {name: run.manifest[name] for name in KEPT_FIELDS if name in run.manifest}
    by_task: dict[str, dict[str, list[Score]]] = {}
    clusters: dict[str, str] = {}
    for score in run.scores:
        if score.cluster != _cluster(score.problem):
            clusters[score.problem] = score.cluster
        by_task.setdefault(score.task, {}).setdefault(score.problem, []).append(score)
    tasks = []
    for task, problems in by_task.items():
        lines = ",\n".join(f"  {json.dumps(p)}: {json.dumps(_encode(s))}" for p, s in problems.items())
        tasks.append(f" {json.dumps(task)}: {{\n{lines}\n }}")
    head = {"format": BASELINE_FORMAT, "name": name, "manifest": kept, "scores": run.estimates, "clusters": clusters}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    write_text(path, f'{text},\n "outcomes": {{\n' + ",\n".join(tasks) + "\n }\n}\n")


def read_baseline(path: Path) -> Outcomes:
    """Raises UsageError when the file is no baseline of this format."""
    raw = read_json(path)
    if raw.get("format") != BASELINE_FORMAT:
        raise UsageError(f"{path}: not a baseline ({BASELINE_FORMAT}); `codecard baseline save` writes one")
    try:
        scores = tuple(
            score
            for task, problems in raw["outcomes"].items()
            for problem, encoded in problems.items()
            for score in _decode(task, problem, raw.get("clusters", {}).get(problem) or _cluster(problem), encoded)
        )
        return Outcomes(name=str(raw["name"]), manifest=dict(raw["manifest"]), scores=scores)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: a damaged baseline: {error}") from None


def _encode(scores: list[Score]) -> str | list[Any]:
    last = max(score.sample for score in scores)
    found = {score.sample: score.value for score in scores}
    if all(value in (0, 1, None) for value in found.values()):
        marks = {0.0: "0", 1.0: "1", None: "v"}
        return "".join(marks[found[i]] if i in found else "-" for i in range(last + 1))
    return [[i, found[i]] for i in sorted(found)]


def _decode(task: str, problem: str, cluster: str, encoded: str | list[Any]) -> Iterable[Score]:
    pairs: Iterable[tuple[int, float | None]]
    if isinstance(encoded, str):
        values = {"0": 0.0, "1": 1.0, "v": None}
        pairs = [(i, values[mark]) for i, mark in enumerate(encoded) if mark != "-"]
    else:
        pairs = [(int(i), None if value is None else float(value)) for i, value in encoded]
    for sample, value in pairs:
        void = "" if value is not None else "void in the baseline"
        yield Score(task=task, problem=problem, cluster=cluster, sample=sample, value=value, void=void)
