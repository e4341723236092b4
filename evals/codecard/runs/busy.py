"""How busy each stage of a run was: whether the model waited for the executors, or they for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from codecard.files import Row
from codecard.model import Completion
from codecard.suites.suite import Session


class StageClock:
    """Times one suite of a run, from its making to `row`. Seconds of wall time throughout."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = time.monotonic()
        self._busy_before = self._executing() or 0.0
        self._generating = 0.0
        self._last_generated = self._began
        self._generated = self._tokens = self._executed = 0

    def generated(self, completions: Iterable[Completion]) -> Iterator[Completion]:
        """The same completions; what the consumer of them takes is not the model's time."""
        source = iter(completions)
        while True:
            began = time.monotonic()
            completion = next(source, None)
            self._last_generated = time.monotonic()
            self._generating += self._last_generated - began
            if completion is None:
                return
            self._generated += 1
            self._tokens += completion.new_tokens or 0
            yield completion

    def executed(self) -> None:
        self._executed += 1

    def row(self) -> Row:
        """`generate_s` the model was at work and `execute_s` the workers together were, of `wall_s`; `tail_s` is what
        execution took beyond the last completion."""
        now, executing = time.monotonic(), self._executing()
        return {
            "suite": self._session.suite.name,
            "wall_s": round(now - self._began, 3),
            "generate_s": round(self._generating, 3),
            "generated": self._generated,
            "new_tokens": self._tokens,
            "execute_s": None if executing is None else round(executing - self._busy_before, 3),
            "executed": self._executed,
            "workers": self._session.workers,
            "tail_s": round(now - self._last_generated, 3),
        }

    def _executing(self) -> float | None:
        return self._session.busy_s
