"""Shards become one run again: their union, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codecard.pipeline.run import Outcome, missing_of, scores_json
from codecard.store.merging import Merged, merge_runs
from codecard.store.outcomes import read_run
from codecard.store.run_folder import SCORES, Row, write_json
from codecard.tasks.definitions import CODE_SUITES, code_tasks
from codecard.tasks.sql import definition


def merge(out: Path, runs: Sequence[Path]) -> tuple[Merged, Outcome]:
    """Unite `runs` in `out` and score it. A sample that no run has is void; a `codecard run` on `out` makes it."""
    merged = merge_runs(out, runs)
    data = read_run(out)
    scores = data.scores
    outcome = Outcome(
        scores=data.summary,
        missing=missing_of(_counts(data.manifest), ((s.task, s.problem, s.sample) for s in scores)),
        voids=sum(score.value is None for score in scores),
        executed=len(scores),
    )
    write_json(out / SCORES, scores_json(outcome))
    return merged, outcome


def _counts(manifest: Row) -> dict[str, int]:
    """Problems of each task of the suites that ran."""
    suites = manifest.get("suites", [])
    counts = {task.task: task.count for suite in suites if suite in CODE_SUITES for task in code_tasks(suite)}
    if "sql" in suites:
        version = definition(manifest["sql"]["protocol"]["version"])
        counts |= {version.categories[name]: count for name, count in version.counts.items()}
    return counts
