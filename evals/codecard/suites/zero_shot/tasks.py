"""The zero-shot table: which lm-eval tasks and metrics stand behind its columns; raw outputs are read.

Two formats of raw output are read: that of lm-evaluation-harness at df3da98c (2023; `results.TASK.acc_norm`)
and that of 0.4 (`results.TASK["acc_norm,none"]`). Old and new name tasks and metrics differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import Estimate, Estimates, UsageError
from codecard.paths import tasks_dir
from codecard.settings import read_toml

SUITE = "zero_shot"
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotTask:
    """One column. `count` is the number of documents of the scored split."""

    name: str
    task: str
    metric: str
    split: str
    count: int
    old_task: str = ""
    old_metric: str = ""

    @property
    def shown_metric(self) -> str:
        """Its name in the table: that of the harness which made the published values."""
        return self.old_metric or self.metric

    @property
    def counts(self) -> bool:
        """Whether a document is right or wrong; mc2 is a probability."""
        return self.old_metric != "mc2"

    @property
    def key(self) -> str:
        """Our name of the task: `zero_shot/piqa`."""
        return f"{SUITE}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotRun:
    """What one raw output says: the model, and an estimate for each of our tasks that it holds."""

    model: str
    harness: str
    estimates: dict[str, Estimate]


def load_tasks(folder: Path) -> tuple[ZeroShotTask, ...]:
    """The ten tasks, from `zero_shot.toml` in `folder`."""
    file = folder / "zero_shot.toml"
    try:
        return tuple(ZeroShotTask(**entry) for entry in read_toml(file)["tasks"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a list of zero-shot tasks: {error}") from error


def is_raw_output(raw: object) -> bool:
    """Whether parsed JSON looks like an output of lm-eval, old or new."""
    return isinstance(raw, Mapping) and "results" in raw and ("config" in raw or "configs" in raw)


def read_raw(raw: Mapping[str, Any], tasks: tuple[ZeroShotTask, ...], where: str) -> ZeroShotRun:
    """Read one raw output. Tasks that are not columns are passed over.

    Raises UsageError where it holds none of the columns, was not zero-shot, or a value is no fraction.
    """
    if not is_raw_output(raw) or not isinstance(raw["results"], Mapping):
        raise UsageError(f"{where}: not an lm-eval output (no results and config)")
    config = raw.get("config") or {}
    new = any("," in key for result in raw["results"].values() for key in result)
    estimates = {}
    for task in tasks:
        name, metric = (task.task, f"{task.metric},none") if new else _old_names(task)
        result = raw["results"].get(name)
        if result is None or metric not in result:
            continue
        _zero_shot_only(raw, config, name, where)
        stderr = result.get(f"{task.metric}_stderr,none" if new else f"{metric}_stderr")
        estimates[task.key] = _estimate(result[metric], stderr, _documents(raw, config, name, task), f"{where}: {name}")
    if not estimates:
        raise UsageError(f"{where}: holds none of the columns ({', '.join(task.task for task in tasks)})")
    return ZeroShotRun(model=_model(raw, config), harness="0.4" if new else "df3da98c", estimates=estimates)


def raw_estimates(raw: Mapping[str, Any], where: str) -> tuple[str, Estimates]:
    """A raw output's model, and its estimates under the metrics that the table has."""
    tasks = load_tasks(tasks_dir() / SUITE)
    found = read_raw(raw, tasks, where)
    metrics = {task.key: task.shown_metric for task in tasks}
    return found.model, {task: {metrics[task]: estimate} for task, estimate in found.estimates.items()}


def _old_names(task: ZeroShotTask) -> tuple[str, str]:
    return task.old_task or task.task, task.old_metric or task.metric


def _zero_shot_only(raw: Mapping[str, Any], config: Mapping[str, Any], name: str, where: str) -> None:
    shots = (raw.get("n-shot") or {}).get(name, config.get("num_fewshot"))
    if shots not in (None, 0):
        raise UsageError(f"{where}: {name} was asked with {shots} examples, the table is zero-shot")


def _documents(raw: Mapping[str, Any], config: Mapping[str, Any], name: str, task: ZeroShotTask) -> int:
    """Documents behind a value: as recorded (new), else the split's count or the run's limit."""
    recorded = (raw.get("n-samples") or {}).get(name)
    if isinstance(recorded, Mapping) and isinstance(recorded.get("effective"), int):
        return int(recorded["effective"])
    limit = config.get("limit")
    if not isinstance(limit, (int, float)):
        return task.count
    return min(task.count, int(limit) if limit >= 1 else math.ceil(task.count * limit))


def _estimate(value: object, stderr: object, n: int, where: str) -> Estimate:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{where}: {value!r} is not a fraction between 0 and 1")
    if not isinstance(stderr, (int, float)) or not math.isfinite(stderr):
        return Estimate(value=float(value), low=None, high=None, n=n, method="lm-eval, no interval")
    half = _Z * float(stderr)
    return Estimate(
        value=float(value),
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        n=n,
        method="lm-eval stderr, normal 95%",
    )


def _model(raw: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """`pretrained` of the model arguments (text or mapping), else what the output calls its model."""
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    found = arguments.get("pretrained") or raw.get("model_name") or config.get("model") or ""
    return str(found)
