"""A static part of a run: the problems whose key falls to it, whoever asks and wherever.

No process needs to know of another. What decides is the problem's content key alone, so a shard holds the same
problems on every machine, in every order and for every number of samples, and all samples of a problem stay together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from codecard.model import Problem, UsageError


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
