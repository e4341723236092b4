"""The zero-shot suite: lm-eval asks and scores; the run folder gets its numbers and one row a document.

Task by task: a run that is started again goes on with the tasks that have no whole set of rows under the same
key (model, data, lm-eval version, limit).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecard.generate.lm_eval_ import Harness, HarnessJob, document_values, local_files
from codecard.generate.lm_eval_library import VERSION
from codecard.model import Estimate, UsageError, Verdict, content_key
from codecard.pipeline.run import Outcome, RunPlan, Watcher, manifest_of, scores_json
from codecard.score import mean_interval
from codecard.store import RunFolder, read_executions, read_manifest, read_scores
from codecard.tasks.paths import tasks_dir
from codecard.tasks.zero_shot import SUITE, ZeroShotTask, load_tasks

RAW = "lm_eval.json"
"""lm-eval's own results in the run folder, in its own format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The model as lm-eval loads it (folder or Hub id), and the name results show."""

    path: str
    name: str
    revision: str | None = None


def zero_shot_job(
    model: Located, data_dir: Path | None, *, limit: int | None = None, dtype: str | None = None,
    batch_size: int | None = None, add_bos: bool = False,
) -> HarnessJob:  # fmt: skip
    """What lm-eval is asked. Local files are used where the data folder has any, else the Hub."""
    folder = data_dir / SUITE if data_dir else None
    tasks = load_tasks(tasks_dir() / SUITE)
    return HarnessJob(
        model=model.path,
        revision=model.revision,
        task_dir=tasks_dir() / SUITE,
        data=folder if folder is not None and local_files(tasks, folder) else None,
        limit=limit,
        dtype=dtype or "auto",
        batch_size=batch_size or 8,
        add_bos=add_bos,
    )


def run_zero_shot(plan: RunPlan, model: Located, job: HarnessJob, watcher: Watcher) -> Outcome:
    """Run the ten tasks (those that have data) and write the run folder; resume by task."""
    tasks = load_tasks(tasks_dir() / SUITE)
    files = local_files(tasks, job.data) if job.data else {}
    wanted = tuple(task for task in tasks if job.data is None or task.name in files)
    skipped = {task.key: f"no {task.name}.jsonl in {job.data}" for task in tasks if task not in wanted}
    keys = {task.key: _key(task, job, files.get(task.name)) for task in wanted}
    with RunFolder(plan.out, _described(plan, model, job, keys), ()) as folder:
        have = _whole(read_executions(plan.out).values(), keys)
        pending = [task for task in wanted if task.key not in have]
        raw = _read_raw(plan.out)
        if pending:
            documents = sum(min(task.count, job.limit or task.count) for task in pending)
            watcher.plan(SUITE, 0, documents)
            watcher.note(f"{SUITE}: {len(pending)} tasks with lm-eval {VERSION}")
            harness = Harness(job, tasks)
            for task in pending:
                result = harness.evaluate(task)
                rows = _rows(task, document_values(result, task), keys[task.key])
                for row in rows:
                    folder.executions.append(row)
                have[task.key] = rows
                _merge(raw, result)
                folder.write_text(RAW, json.dumps(raw, indent=1, ensure_ascii=False, default=str) + "\n")
                for row in rows:
                    watcher.executed(row)
        outcome = Outcome(
            scores=summarise_zero_shot(tasks, have),
            missing=_missing(wanted, have),
            skipped=skipped,
            executed=sum(map(len, have.values())),
        )
        earlier = _earlier_scores(plan.out)
        folder.write_scores(earlier | scores_json(outcome))
        return outcome


def summarise_zero_shot(
    tasks: Iterable[ZeroShotTask], rows: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[str, Estimate]]:
    """Each task's mean under its own metric, and the average of the ten where none is missing."""
    given = [task for task in tasks if task.key in rows]
    found: dict[str, dict[str, Estimate]] = {}
    for task in given:
        values = np.array([row["value"] for row in rows[task.key]], dtype=float)
        names = [row["problem"] for row in rows[task.key]]
        found[task.key] = {task.old_metric or task.metric: mean_interval(values, names)}
    means = [estimate.value for metrics in found.values() for estimate in metrics.values()]
    if given and len(given) == len(list(tasks)) and None not in means:
        value = float(np.mean([mean for mean in means if mean is not None]))
        found[f"{SUITE}/average"] = {
            "mean": Estimate(
                value=value, low=None, high=None, n=len(means), method="mean of the ten tasks, no interval"
            )
        }
    return found


def _rows(task: ZeroShotTask, values: list[tuple[str, float]], key: str) -> list[dict[str, Any]]:
    right = {1.0: Verdict.PASSED.value, 0.0: Verdict.WRONG.value}
    return [
        {
            "task": task.key,
            "problem": document,
            "sample": 0,
            "verdict": right[value] if task.counts else "rated",
            "passed": bool(value) if task.counts else None,
            "value": value,
            "void": "",
            "documents": len(values),
            "key": key,
        }
        for document, value in values
    ]


def _whole(rows: Iterable[dict[str, Any]], keys: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tasks that are complete under today's key, in the order of the documents."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if keys.get(row["task"]) == row.get("key"):
            found.setdefault(row["task"], []).append(row)
    return {task: members for task, members in found.items() if len(members) == members[0].get("documents")}


def _key(task: ZeroShotTask, job: HarnessJob, file: Path | None) -> str:
    data = ""
    if file is not None:
        with file.open("rb") as stream:
            data = hashlib.file_digest(stream, "sha256").hexdigest()
    asked = [job.model, job.revision, job.dtype, job.batch_size, job.limit, job.add_bos]
    return content_key([task, asked, data, VERSION])


def _described(plan: RunPlan, model: Located, job: HarnessJob, keys: dict[str, str]) -> dict[str, Any]:
    """The manifest: that of the other suites of the run where there are any, with what lm-eval was asked."""
    manifest = (
        read_manifest(plan.out) if (plan.out / "manifest.json").exists() else manifest_of(plan, []) | {"recipe": None}
    )
    before = manifest.get(SUITE)
    if before and before.get("model") != model.name:
        raise UsageError(f"{plan.out} holds a zero-shot run of {before.get('model')}; choose another --out")
    return manifest | {
        SUITE: {
            "lm_eval": VERSION,
            "model": model.name,
            "dtype": job.dtype,
            "batch_size": job.batch_size,
            "limit": job.limit,
            "add_bos_token": job.add_bos,
            "num_fewshot": 0,
            "data": str(job.data) if job.data else "the Hub",
            "keys": keys,
        }
    }


def _missing(tasks: Iterable[ZeroShotTask], rows: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    short = {task.key: task.count - len(rows.get(task.key, [])) for task in tasks}
    return {task: count for task, count in short.items() if count > 0}


def _merge(raw: dict[str, Any], result: dict[str, Any]) -> None:
    """Join the results of one task into those of the others, without the documents."""
    for name, part in result.items():
        if name == "samples":
            continue
        if isinstance(part, dict) and isinstance(raw.get(name), dict):
            raw[name].update(part)
        else:
            raw[name] = part


def _read_raw(run: Path) -> dict[str, Any]:
    file = run / RAW
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _earlier_scores(run: Path) -> dict[str, Any]:
    scores = read_scores(run) if (run / "scores.json").exists() else {}
    return {task: value for task, value in scores.items() if not task.startswith(f"{SUITE}/")}
