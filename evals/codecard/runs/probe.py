"""How fast a model answers on this machine, measured through the port that a run uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from codecard.generate.port import GenerationRequest, Generator
from codecard.model import InfrastructureError, Sampling

FIRST_ROWS, MOST_ROWS = 4, 512
NEW_TOKENS = 33


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Tokens a second of the whole machine with `rows` requests at once: of prompts read, and of text written."""

    prompt: float
    new: float
    rows: int
    seconds: float


def probe(
    generator: Generator,
    requests: Sequence[GenerationRequest],
    *,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Rate:
    """Ask these requests for about `seconds`, with twice the rows each time; the widest round counts.

    A round asks the same requests for one new token and for `NEW_TOKENS`: the first is reading the prompts, the
    difference writing. Requests come in turn, so that prompts are shared as little as may be.
    """
    began, rows, rate = clock(), FIRST_ROWS, None
    while rate is None or (rows <= MOST_ROWS and clock() - began + 2 * rate.seconds <= seconds):
        asked = [requests[i % len(requests)] for i in range(rows)]
        read, prompt_tokens, _ = _timed(generator, asked, 1, clock)
        both, _, new_tokens = _timed(generator, asked, NEW_TOKENS, clock)
        written = max(new_tokens - rows, 1)
        wrote = max(both - read, written / 1e6)
        rate = Rate(prompt=prompt_tokens / read, new=written / wrote, rows=rows, seconds=read + both)
        rows *= 2
    return rate


def _timed(
    generator: Generator, requests: Sequence[GenerationRequest], new: int, clock: Callable[[], float]
) -> tuple[float, int, int]:
    """Seconds, prompt tokens and new tokens of one greedy answer to each."""
    sampling = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=new)
    asked = [replace(r, sample=place, sampling=sampling, stops=()) for place, r in enumerate(requests)]
    began = clock()
    answers = list(generator.generate(asked))
    if len(answers) < len(asked):
        raise InfrastructureError(f"the model answered {len(answers)} of {len(asked)} requests of the probe")
    took = max(clock() - began, 1e-6)
    return took, sum(a.prompt_tokens or 0 for a in answers), sum(a.new_tokens or 0 for a in answers)
