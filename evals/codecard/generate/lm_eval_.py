"""Likelihood tasks through lm-evaluation-harness 0.4.13, on the Hub's data sets or on local files.

lm_eval is imported here alone, when a run starts. No token is put before the prompt (`add_bos_token=False`,
as the harness did at df3da98c; since 0.4.10 it follows the tokenizer), no examples are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.generate.lm_eval_library import first_line, library, model_class, quiet
from codecard.model import InfrastructureError, UsageError
from codecard.tasks.zero_shot import ZeroShotTask


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessJob:
    """What lm-eval is asked: `model` is a folder or a Hub id, `task_dir` holds our own task definitions.

    `data` is a folder with one file a task (`piqa.jsonl` or `piqa.parquet`: the scored split in the schema of
    the task's own data set), or None for the Hub. `limit`: only the first documents of each task.
    """

    model: str
    task_dir: Path
    revision: str | None = None
    data: Path | None = None
    limit: int | None = None
    dtype: str = "auto"
    device: str | None = None
    batch_size: int = 8
    add_bos: bool = False


def local_files(tasks: tuple[ZeroShotTask, ...], data: Path) -> dict[str, Path]:
    """The data files that exist in a folder, by our name of the task."""
    names = [(task, data / f"{task.name}{suffix}") for task in tasks for suffix in (".jsonl", ".parquet")]
    return {task.name: file for task, file in names if file.is_file()}


def task_config(task: ZeroShotTask, file: Path | None) -> str | dict[str, Any]:
    """What lm-eval is given for a task: its name, or its definition with a local file as the scored split."""
    if file is None:
        return task.task
    return {
        "task": task.task,
        "dataset_path": "parquet" if file.suffix == ".parquet" else "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {task.split: str(file)}},
        "training_split": None,
        "validation_split": "validation" if task.split == "validation" else None,
        "test_split": "test" if task.split == "test" else None,
    }


class Harness:
    """lm-eval with a model loaded, asked one task at a time.

    Opening raises InfrastructureError where lm-eval is missing or of another version, UsageError where the
    model cannot be had.
    """

    def __init__(self, job: HarnessJob, tasks: tuple[ZeroShotTask, ...]) -> None:
        self.job = job
        self._files = local_files(tasks, job.data) if job.data else {}
        with quiet():
            self._lm_eval = library("the zero-shot suite")
            from lm_eval.tasks import TaskManager

            self._manager = TaskManager(include_path=str(job.task_dir))
            self._model = _model(job)

    def evaluate(self, task: ZeroShotTask) -> dict[str, Any]:
        """lm-eval's own result of one task, per-document samples included. UsageError: no data for it."""
        with quiet():
            config = task_config(task, self._files.get(task.name))
            try:
                # Members of a group are built on the registered task; a lone mapping would stand for itself.
                loaded = self._manager.load([{"group": "codecard_zero_shot", "task": [config]}])
            except Exception as error:  # the Hub's client and datasets raise many kinds; all mean "no data"
                raise UsageError(
                    f"no data for {task.task}: {first_line(error)}; put its {task.split} split into "
                    f"CODECARD_DATA/zero_shot/{task.name}.jsonl, or open the network"
                ) from error
            result: dict[str, Any] | None = self._lm_eval.simple_evaluate(
                model=self._model,
                tasks=list(loaded["tasks"].values()),
                num_fewshot=0,
                limit=self.job.limit,
                log_samples=True,
                bootstrap_iters=0,
                task_manager=self._manager,
            )
        if result is None:
            raise InfrastructureError("lm-eval gave no result: not the first process of its group")
        return result


def document_values(result: dict[str, Any], task: ZeroShotTask) -> list[tuple[str, float]]:
    """(document id, value of the task's metric) of each document, in order."""
    rows = sorted(result["samples"][task.task], key=lambda row: int(row["doc_id"]))
    return [(str(row["doc_id"]), float(row[task.metric])) for row in rows]


def _model(job: HarnessJob) -> Any:
    import torch

    device = job.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return model_class("hf")(
            pretrained=job.model,
            revision=job.revision or "main",
            dtype=job.dtype,
            device=device,
            batch_size=job.batch_size,
            add_bos_token=job.add_bos,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"{job.model}: cannot load the model: {first_line(error)}") from error
