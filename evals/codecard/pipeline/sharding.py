"""A static part of a run: the problems whose key falls to it, whoever asks and wherever.

No process needs to know of another. What decides is the problem's content key alone, so a shard holds the same
problems on every machine, in every order and for every number of samples, and all samples of a problem stay together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codecard.generate import GenerationRequest
from codecard.model import Problem, UsageError
from codecard.pipeline.evaluator import Asking, Evaluator, Row, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `index`, counted from 0, of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, problem: Problem) -> bool:
        return int(problem.key, 16) % self.count == self.index


def parse_shard(given: str) -> Shard:
    """`0/4` to `3/4`, as the rank and the size that torchrun and srun put into the environment."""
    found = re.fullmatch(r"(\d+)/(\d+)", given)
    if found is None or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard {given}: expected INDEX/COUNT with INDEX from 0 to COUNT - 1, such as 0/4")
    return Shard(index=int(found[1]), count=int(found[2]))


class Part:
    """An evaluator that has only its shard's problems."""

    def __init__(self, whole: Evaluator, shard: Shard) -> None:
        self._whole = whole
        self._problems = [problem for problem in whole.problems() if shard.holds(problem)]
        self.suite = whole.suite
        self.skipped = whole.skipped
        self.counts: dict[str, int] = getattr(whole, "counts", {})

    @property
    def busy_s(self) -> float | None:
        seconds: float | None = getattr(self._whole, "busy_s", None)
        return seconds

    @property
    def workers(self) -> int | None:
        count: int | None = getattr(self._whole, "workers", None)
        return count

    def problems(self) -> list[Problem]:
        return self._problems

    def describe(self) -> Row:
        return self._whole.describe()

    def request(self, problem: Problem, sample: int, asking: Asking) -> GenerationRequest:
        return self._whole.request(problem, sample, asking)

    def key(self, work: Work) -> str:
        return self._whole.key(work)

    def evaluate(self, work: Iterable[Work]) -> Iterator[Row]:
        return self._whole.evaluate(work)

    def close(self) -> None:
        self._whole.close()
