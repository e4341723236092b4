"""Likelihood tasks through lm-evaluation-harness 0.4.13, on the Hub's data sets or on local files.

lm_eval is imported here alone, when the suite is opened. No token is put before the prompt (`add_bos_token=False`,
as the harness did at df3da98c; since 0.4.10 it follows the tokenizer), no examples are shown.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from codecard.files import read_json, write_json
from codecard.generate.backends import Opening, locate
from codecard.generate.lm_eval_library import VERSION, library, model_class, quiet
from codecard.generate.loading import find
from codecard.generate.port import GenerationRequest, Generator
from codecard.model import Choices, Completion, FinishReason, InfrastructureError, Problem, UsageError
from codecard.settings import ModelSpec
from codecard.suites.zero_shot.tasks import ZeroShotTask
from codecard.text import first_line

RAW = "lm_eval.json"
"""lm-eval's own results in the run folder, in its own format."""
BATCH_SIZE = 8


def local_files(tasks: Iterable[ZeroShotTask], data: Path) -> dict[str, Path]:
    """The data files that exist in a folder, by our name of the task: the scored split in its data set's own schema."""
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
    """lm-eval with its tasks: their documents, and the values that a model gets on them.

    Raises InfrastructureError where lm-eval is missing or of another version, UsageError where a task has no data.
    """

    def __init__(self, tasks: Sequence[ZeroShotTask], files: dict[str, Path], task_dir: Path) -> None:
        with quiet():
            self._lm_eval = library("the zero-shot suite")
            from lm_eval.tasks import TaskManager

            self._manager = TaskManager(include_path=str(task_dir))
            self._loaded = {task.key: self._load(task, files.get(task.name)) for task in tasks}
        self._tasks = {task.key: task for task in tasks}

    def _load(self, task: ZeroShotTask, file: Path | None) -> Any:
        try:
            # Members of a group are built on the registered task; a lone mapping would stand for itself.
            found = self._manager.load([{"group": "codecard_zero_shot", "task": [task_config(task, file)]}])
            (loaded,) = found["tasks"].values()
            len(loaded.eval_docs)
        except Exception as error:  # the Hub's client and datasets raise many kinds; all mean "no data"
            raise UsageError(
                f"no data for {task.task}: {first_line(error)}; put its {task.split} split into "
                f"CODECARD_DATA/zero_shot/{task.name}.jsonl, or open the network"
            ) from error
        return loaded

    def problems(self, key: str) -> list[Problem]:
        """A task's documents in their order; a prompt that is no text (several contexts) is the document itself."""
        name, loaded = self._tasks[key].name, self._loaded[key]
        with quiet():
            try:
                return [_problem(key, name, loaded, n, document) for n, document in enumerate(loaded.eval_docs)]
            except Exception as error:  # a document without the fields of the task's schema
                raise UsageError(f"no data for {self._tasks[key].task}: {first_line(error)}") from error

    def evaluate(self, key: str, model: Any, documents: Sequence[int]) -> dict[str, Any]:
        """lm-eval's own result of one task on some of its documents, per-document samples included."""
        with quiet():
            loaded = self._loaded[key]
            result: dict[str, Any] | None = self._lm_eval.simple_evaluate(
                model=model,
                tasks=[loaded],
                num_fewshot=0,
                samples={self._tasks[key].task: list(documents)},
                log_samples=True,
                bootstrap_iters=0,
                task_manager=self._manager,
            )
        if result is None:
            raise InfrastructureError("lm-eval gave no result: not the first process of its group")
        return result


def _problem(key: str, name: str, loaded: Any, number: int, document: Any) -> Problem:
    text = loaded.doc_to_text(document)
    choices = loaded.doc_to_choice(document) if loaded.config.doc_to_choice is not None else ()
    prompt = text if isinstance(text, str) else json.dumps(document, sort_keys=True, default=str)
    return Problem(
        task=key,
        id=str(number),
        cluster=f"{name}/{number}",
        prompt=prompt,
        checker=Choices(choices=tuple(map(str, choices or ())), gold=0),
    )


class LikelihoodGenerator(Generator):
    """A model asked by lm-eval for the likelihoods of continuations: a completion is what it found, as JSON.

    `whole`: documents of each task; of one that is asked whole, lm-eval's own results are kept in
    `folder`.
    """

    def __init__(
        self, harness: Harness, tasks: Sequence[ZeroShotTask], spec: ModelSpec, opening: Opening, *, add_bos: bool,
        whole: dict[str, int], folder: Path | None,
    ) -> None:  # fmt: skip
        self._harness, self._tasks = harness, {task.key: task for task in tasks}
        self._path, self._revision, self._name = locate(spec)
        self._opening, self._add_bos, self._whole, self._folder = opening, add_bos, whole, folder
        self._source = find(self._path, self._revision)
        self._model: Any = None

    def fingerprint(self) -> dict[str, Any]:
        """What decides the likelihoods. The weights are loaded when the first document is asked."""
        opening = self._opening
        return {
            "model": self._name,
            "revision": self._source.version(None),
            "backend": f"lm-eval {VERSION}",
            "dtype": opening.dtype or "auto",
            "device": opening.device or "",
            "batch_size": opening.batch_size or BATCH_SIZE,
            "add_bos_token": self._add_bos,
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        for key, group in itertools.groupby(requests, key=lambda request: request.task):
            asked = {int(request.problem): request for request in group}
            result = self._harness.evaluate(key, self._opened(), list(asked))
            task = self._tasks[key]
            rows = sorted(result["samples"][task.task], key=lambda row: int(row["doc_id"]))
            for row in rows:
                text = json.dumps(
                    {"value": float(row[task.metric]), "responses": row.get("filtered_resps")}, default=str
                )
                yield asked[int(row["doc_id"])].completion(text, FinishReason.EOS)
            if self._folder is not None and len(rows) == self._whole.get(key):
                _keep(self._folder / RAW, result)

    def _opened(self) -> Any:
        if self._model is None:
            with quiet():
                self._model = _load_model(self._path, self._revision, self._opening, self._add_bos)
        return self._model

    def close(self) -> None:
        self._model = None


def _load_model(path: str, revision: str | None, opening: Opening, add_bos: bool) -> Any:
    import torch

    try:
        return model_class("hf")(
            pretrained=path,
            revision=revision or "main",
            dtype=opening.dtype or "auto",
            device=opening.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            batch_size=opening.batch_size or BATCH_SIZE,
            add_bos_token=add_bos,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"{path}: cannot load the model: {first_line(error)}") from error


def _keep(path: Path, result: dict[str, Any]) -> None:
    """Join the results of one task into those of the others, without the documents."""
    raw = read_json(path) if path.exists() else {}
    for name, part in json.loads(json.dumps(result, default=str)).items():
        if name == "samples":
            continue
        if isinstance(part, dict) and isinstance(raw.get(name), dict):
            raw[name].update(part)
        else:
            raw[name] = part
    write_json(path, raw)
