"""What the pipeline asks of a suite: problems, requests, and rows for what came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from codecard.generate import GenerationRequest
from codecard.model import Completion, Problem, PromptStyle, Sampling

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A completion to be evaluated. `source` is a whole program given from outside, run as it stands."""

    problem: Problem
    completion: Completion
    source: str | None = None
    label: str = ""
    """The sample's own name in the file it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How the model is asked: the profile's settings with the user's changes."""

    style: PromptStyle
    sampling: Sampling
    seed: int


class Evaluator(Protocol):
    """One suite of a run. Opened by `open_evaluator`; closed by the pipeline."""

    suite: str
    skipped: dict[str, str]
    """Task → reason, for tasks that cannot run on this machine. Never scored, always shown."""

    def problems(self) -> list[Problem]: ...

    def describe(self) -> Row:
        """For the manifest: data hashes, images, toolchains, limits."""
        ...

    def request(self, problem: Problem, sample: int, asking: Asking) -> GenerationRequest: ...

    def key(self, work: Work) -> str:
        """Hash of all that an outcome depends on: a journal row with the same key need not be made again."""
        ...

    def evaluate(self, work: Iterable[Work]) -> Iterator[Row]:
        """One row per completion, in any order, with `task, problem, sample, verdict, passed, void, key, …`."""
        ...

    def close(self) -> None: ...
