"""The zero-shot suite: ten likelihood tasks, whose generator is lm-eval."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codecard.files import Row
from codecard.generate.backends import Opening
from codecard.generate.port import GenerationRequest, Generator
from codecard.model import (
    Asking,
    Completion,
    Estimate,
    Estimates,
    Outcome,
    Problem,
    PromptStyle,
    SampleId,
    Sampling,
    Score,
    Table,
    TableCell,
    Unit,
    UsageError,
    Verdict,
    Void,
    content_key,
)
from codecard.paths import tasks_dir
from codecard.settings import ModelSpec, Options, option
from codecard.stats import estimate_mean
from codecard.suites.suite import Lengths, Session, Setting, Suite, Work, request_of
from codecard.suites.zero_shot.harness import Harness, LikelihoodGenerator, local_files
from codecard.suites.zero_shot.tasks import SUITE, ZeroShotTask, load_tasks

CHOICES = {
    "arc_challenge": 4, "arc_easy": 4, "boolq": 2, "hellaswag": 4, "lambada_openai": 1, "openbookqa": 4, "piqa": 2,
    "siqa": 3, "truthfulqa": 7, "winogrande": 2,
}  # fmt: skip
"""Continuations scored a document."""


class ZeroShotOptions(Options):
    add_bos: bool = option(False, about="a BOS token before the prompt", role="asking", old="--add-bos")


class ZeroShot(Suite):
    name = kind = SUITE
    title = "Zero-shot"
    summary = "ten lm-eval tasks, likelihoods of continuations"
    options = ZeroShotOptions
    sampled = False
    local = True
    unit = Unit(scale=100, digits=2)
    counts = "documents"

    @cached_property
    def zero_shot_tasks(self) -> tuple[ZeroShotTask, ...]:
        return load_tasks(tasks_dir() / SUITE)

    def tasks(self) -> dict[str, str]:
        return {task.key: f"{task.name} ({task.shown_metric})" for task in self.zero_shot_tasks}

    def asking(self, setting: Setting, options: ZeroShotOptions) -> Asking:
        return Asking(style=PromptStyle.RAW, sampling=Sampling(), seed=0)

    def open(self, setting: Setting, options: ZeroShotOptions, files: Sequence[Path] = ()) -> Session:
        if files:
            raise UsageError("raw lm-eval outputs are scored already: give them to codecard card or reproduce --with")
        return ZeroShotSession(self, setting, options)

    def lengths(self, options: ZeroShotOptions) -> Lengths:
        tasks = self.zero_shot_tasks
        return Lengths(
            questions={task.key: task.count for task in tasks},
            prompt_tokens={task.key: 120 for task in tasks},
            choices={task.key: CHOICES[task.name] for task in tasks},
            detectable="accuracy",
        )

    def summarise(self, scores: Sequence[Score], outcomes: Mapping[SampleId, Outcome], facts: Row) -> Estimates:
        """Each task's mean under its own metric, and the average of the ten where none is missing."""
        groups: dict[str, list[Score]] = {}
        for score in scores:
            groups.setdefault(score.task, []).append(score)
        metrics = {task.key: task.shown_metric for task in self.zero_shot_tasks}
        found = {task: {metrics[task]: estimate_mean(rows, shares=True)} for task, rows in groups.items()}
        means = [estimate.value for task in found.values() for estimate in task.values()]
        known = [mean for mean in means if mean is not None]
        if len(known) == len(metrics):
            value, method = float(np.mean(known)), "mean of the ten tasks, no interval"
            average = Estimate(value=value, low=None, high=None, n=len(known), method=method)
            found[f"{SUITE}/average"] = {"mean": average}
        return found

    def assumed(self, values: Mapping[str, Any]) -> Row:
        return {"dtype": values["dtype"], "set": {self.name: {"add_bos": bool(values["add_bos"])}}}

    def old_facts(self, manifest: Row) -> Row:
        return {"noted": dict(manifest[self.name])} if isinstance(manifest.get(self.name), dict) else {}

    def table(self, estimates: Estimates, skipped: Mapping[str, str], facts: Row) -> Table:
        """One row: each task under its own metric."""
        titles = {f"{SUITE}/average": self.average} | self.tasks()
        present = [task for task in titles if task in estimates or task in skipped]
        cells = [
            TableCell(text="skipped")
            if task not in estimates
            else TableCell(estimate=next(iter(estimates[task].values())))
            for task in present
        ]
        return Table(
            title=self.title,
            columns=tuple((titles[task], task) for task in present),
            rows=(("value", tuple(cells)),),
            unit=self.unit,
            counts=self.counts,
        )


class ZeroShotSession(Session):
    """The documents of the tasks that have data, asked by lm-eval."""

    def __init__(self, suite: ZeroShot, setting: Setting, options: ZeroShotOptions) -> None:
        super().__init__(suite, suite.asking(setting, options), options)
        if setting.model is not None and not setting.model.here and setting.model.backend != "replay":
            raise UsageError(f"--suite {SUITE} needs likelihoods of a model that runs here, not {setting.model.text}")
        folder = setting.data_dir / SUITE if setting.data_dir else None
        files = local_files(suite.zero_shot_tasks, folder) if folder is not None else {}
        tasks = [task for task in suite.zero_shot_tasks if not files or task.name in files]
        self.missing = {
            task.key: f"no {task.name}.jsonl in {folder}" for task in suite.zero_shot_tasks if task not in tasks
        }
        self._add_bos, self._folder, self._tasks = options.add_bos, setting.folder, tasks
        self._harness = Harness(tasks, files, tasks_dir() / SUITE)
        self.counts = {task.key: task.count for task in tasks}
        self._problems = [problem for task in tasks for problem in self._harness.problems(task.key)]

    @property
    def skipped(self) -> Mapping[str, str]:  # type: ignore[override]
        return self.missing

    def problems(self) -> list[Problem]:
        return self._problems

    def generator(self, model: ModelSpec, opening: Opening) -> Generator | None:
        if not model.here:
            return None
        whole = Counter(problem.task for problem in self._problems)
        return LikelihoodGenerator(
            self._harness, self._tasks, model, opening, add_bos=self._add_bos, whole=whole, folder=self._folder
        )

    def request(self, problem: Problem, sample: int, history: Sequence[Completion]) -> GenerationRequest | None:
        return None if history else request_of(self.asking, problem, sample, problem.prompt)

    def key(self, work: Work) -> str:
        return content_key([work.problem.key, work.completion.text])

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        counts = {task.key: task.counts for task in self._tasks}
        for work in works:
            yield self._outcome(work, counts[work.problem.task])

    def _outcome(self, work: Work, counts: bool) -> Outcome:
        try:
            value: float | None = float(json.loads(work.completion.text)["value"])
        except (ValueError, KeyError, TypeError):
            value = None
        right = {1.0: Verdict.PASSED.value, 0.0: Verdict.WRONG.value}
        verdict = "void" if value is None else right[value] if counts else "rated"
        void = Void(who="generator", why="the recorded text holds no value") if value is None else None
        return work.outcome(verdict, value, self.key(work), void=void, graded=not counts)
