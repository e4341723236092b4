"""Measurements for a card, read from run folders and from raw lm-eval outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from codecard.card.measurements import Measurement, estimates_of
from codecard.model import UsageError
from codecard.score import tally, within_problem_se
from codecard.score.suites import is_rated, suite_of
from codecard.store import read_manifest, read_scores
from codecard.store.outcomes import read_run
from codecard.tasks.definitions import load_profile, profile_names
from codecard.tasks.paths import tasks_dir
from codecard.tasks.zero_shot import SUITE, ZeroShotTask, load_tasks, read_raw


def read_measurements(paths: Iterable[Path]) -> list[Measurement]:
    """All numbers of run folders and raw lm-eval outputs (`.json`), in the order given."""
    tasks = load_tasks(tasks_dir() / "zero_shot")
    found: list[Measurement] = []
    for path in paths:
        found += _from_run(path) if path.is_dir() else _from_raw(path, tasks)
    return found


def _from_raw(path: Path, tasks: tuple[ZeroShotTask, ...]) -> list[Measurement]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such run folder or raw output") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from None
    run = read_raw(raw, tasks, str(path))
    metrics = {task.key: task.old_metric or task.metric for task in tasks}
    return [
        Measurement(model=run.model, name=path.stem, task=task, metric=metrics[task], estimate=estimate)
        for task, estimate in run.estimates.items()
    ]


def _from_run(path: Path) -> list[Measurement]:
    manifest, name = read_manifest(path), path.resolve().name
    estimates = estimates_of(read_scores(path), str(path / "scores.json"))
    recipe = manifest.get("recipe") or {}
    model = manifest.get("model") or recipe.get("model") or name
    within = _variances(path) if (path / "executions.jsonl").exists() else {}
    samples = manifest.get("samples")
    revision = _revision(manifest)
    return [
        Measurement(
            model=str(model),
            name=name,
            task=task,
            metric=metric,
            estimate=estimate,
            samples=samples if isinstance(samples, int) and samples > 0 else 1,
            variance_at_one=within.get(task),
            judge=_judge(manifest) if is_rated(suite_of(task)) else "",
            revision=revision if suite_of(task) == "multipl_e" else "",
        )
        for (task, metric), estimate in estimates.items()
    ]


def _variances(path: Path) -> dict[str, float]:
    """Variance of each task's pass@1 over new samples, where a run has several samples a problem."""
    by_task: dict[str, list[Any]] = {}
    for score in read_run(path).scores:
        if not is_rated(suite_of(score.task)) and suite_of(score.task) != SUITE:
            by_task.setdefault(score.task, []).append(score)
    found = {}
    for task, scores in by_task.items():
        if (within := within_problem_se(tally(scores))) is not None:
            found[task] = within.variance_at_one
    return found


def _judge(manifest: dict[str, Any]) -> str:
    """The judge's name; where its ratings cannot stand beside the card's, the reason instead."""
    judge = manifest.get("judge") or {}
    return str(judge.get("remark") or judge.get("name") or "") if isinstance(judge, dict) else str(judge)


def _revision(manifest: dict[str, Any]) -> str:
    """The data set revision of a run's profile; empty where the profile is not known here."""
    profile = manifest.get("profile")
    name = profile.get("name") if isinstance(profile, dict) else profile
    return load_profile(name).revision if name in profile_names() else ""


def run_facts(path: Path, assumed: Mapping[str, object]) -> str:
    """How a run was made, in a line, with what was assumed where it differs; empty for a raw output."""
    if not path.is_dir():
        return ""
    manifest = read_manifest(path)
    recipe = manifest.get("recipe") or {}
    facts = [f"{path.resolve().name}: {manifest.get('model') or recipe.get('model') or 'completions made elsewhere'}"]
    profile = manifest.get("profile")
    if isinstance(profile, dict):
        facts.append(f"profile {profile.get('name')}")
    dtype = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(
        str(recipe.get("dtype")), recipe.get("dtype")
    )
    found = {"n_samples": manifest.get("samples"), "prompt_style": recipe.get("prompt_style"), "dtype": dtype}
    for name, word in (("n_samples", "samples"), ("prompt_style", "prompt"), ("dtype", "precision")):
        value = found[name]
        if value is not None:
            differs = f" (assumed {assumed[name]})" if name in assumed and str(assumed[name]) != str(value) else ""
            facts.append(f"{word} {value}{differs}")
    return ", ".join(facts)
