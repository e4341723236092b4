"""Measurements for a card, read from run folders and from raw lm-eval outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from codecard.card.measurements import Measurement, estimates_of
from codecard.files import read_json
from codecard.model import Score, UsageError, suite_of
from codecard.runs.folder import SCORES
from codecard.runs.reading import Run, read_run
from codecard.stats import tally, within_problem_se
from codecard.suites import known_suite, raw_reader


def read_measurements(paths: Iterable[Path]) -> list[Measurement]:
    """All numbers of run folders and raw outputs of other tools (`.json`), in the order given."""
    found: list[Measurement] = []
    for path in paths:
        found += _from_run(read_run(path, empty=True)) if path.is_dir() else _from_raw(path)
    return found


def _from_raw(path: Path) -> list[Measurement]:
    if not path.exists():
        raise UsageError(f"{path}: no such run folder or raw output")
    model, estimates = raw_reader()(read_json(path), str(path))
    return [
        Measurement(model=model, name=path.stem, task=task, metric=metric, estimate=estimate)
        for task, metrics in estimates.items()
        for metric, estimate in metrics.items()
    ]


def _from_run(run: Run) -> Iterator[Measurement]:
    manifest = run.manifest
    within = _variances(run)
    estimates = run.estimates
    if not run.outcomes and not run.histories:  # what is left of a run: the numbers that the scorer wrote
        estimates = estimates_of(read_json(run.path / SCORES, "a run folder"), str(run.path / SCORES))
    for task, metrics in estimates.items():
        name = suite_of(task)
        facts = manifest.facts_of(name)
        judge = facts.get("judge")
        named = str(judge.get("name") or "") if isinstance(judge, dict) else ""
        for metric, estimate in metrics.items():
            yield Measurement(
                model=str(manifest.model or (manifest.recipe or {}).get("model") or run.name),
                name=run.name,
                task=task,
                metric=metric,
                estimate=estimate,
                samples=manifest.samples or 1,
                variance_at_one=within.get(task),
                judge=str(facts.get("remark") or named),
                revision=str(facts.get("revision") or ""),
            )


def _variances(run: Run) -> dict[str, float]:
    """Variance of each task's pass@1 over new samples, where a run has several samples a problem."""
    by_task: dict[str, list[Score]] = {}
    for score in run.samples:
        if known_suite(suite_of(score.task)).sampled:
            by_task.setdefault(score.task, []).append(score)
    withins = {task: within_problem_se(tally(scores)) for task, scores in by_task.items()}
    return {task: within.variance_at_one for task, within in withins.items() if within is not None}


def run_facts(path: Path, assumed: Mapping[str, object]) -> str:
    """How a run was made, in a line, with what was assumed where it differs; empty for a raw output."""
    if not path.is_dir():
        return ""
    run = read_run(path, empty=True)
    manifest, recipe = run.manifest, run.manifest.recipe or {}
    facts = [f"{run.name}: {run.model or 'completions made elsewhere'}"]
    if manifest.profile:
        facts.append(f"profile {manifest.profile.get('name')}")
    styles = {asking.get("style") for asking in manifest.asking.values()} - {None}
    found = {
        "samples": manifest.samples if manifest.recipe is not None else None,
        "prompt_style": next(iter(styles)) if len(styles) == 1 else None,
        "dtype": recipe.get("dtype") or None,
    }
    for name, word in (("samples", "samples"), ("prompt_style", "prompt"), ("dtype", "precision")):
        value = found[name]
        if value is not None:
            differs = f" (assumed {assumed[name]})" if name in assumed and str(assumed[name]) != str(value) else ""
            facts.append(f"{word} {value}{differs}")
    return ", ".join(facts)
