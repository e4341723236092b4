"""How fast a model answers on this machine, measured through the port that a run uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from codecard.generate import GenerationRequest, Generator, Message
from codecard.model import InfrastructureError, Problem, PromptStyle, Sampling, Tests
from codecard.tasks.extraction import chat_prompt

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
    problems: list[Problem],
    style: PromptStyle,
    *,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Rate:
    """Ask the problems' prompts for about `seconds`, with twice the rows each time; the widest round counts.

    A round asks the same requests for one new token and for `NEW_TOKENS`: the first is reading the prompts, the
    difference writing. Problems come in turn, so that prompts are shared as little as may be.
    """
    began, rows, rate = clock(), FIRST_ROWS, None
    while rate is None or (rows <= MOST_ROWS and clock() - began + 2 * rate.seconds <= seconds):
        asked = [problems[i % len(problems)] for i in range(rows)]
        read, prompt_tokens, _ = _timed(generator, asked, style, 1, clock)
        both, _, new_tokens = _timed(generator, asked, style, NEW_TOKENS, clock)
        written = max(new_tokens - rows, 1)
        wrote = max(both - read, written / 1e6)
        rate = Rate(prompt=prompt_tokens / read, new=written / wrote, rows=rows, seconds=read + both)
        rows *= 2
    return rate


def _timed(
    generator: Generator, problems: list[Problem], style: PromptStyle, new: int, clock: Callable[[], float]
) -> tuple[float, int, int]:
    """Seconds, prompt tokens and new tokens of one greedy answer to each."""
    requests = [_request(problem, style, place, new) for place, problem in enumerate(problems)]
    began = clock()
    answers = list(generator.generate(requests))
    if len(answers) < len(requests):
        raise InfrastructureError(f"the model answered {len(answers)} of {len(requests)} requests of the probe")
    took = max(clock() - began, 1e-6)
    return took, sum(a.prompt_tokens or 0 for a in answers), sum(a.new_tokens or 0 for a in answers)


def _request(problem: Problem, style: PromptStyle, place: int, new: int) -> GenerationRequest:
    prompt: str | tuple[Message, ...] = problem.prompt
    if style is PromptStyle.CHAT:
        language = problem.checker.language if isinstance(problem.checker, Tests) else ""
        prompt = (Message(role="user", content=chat_prompt(problem.prompt, language)),)
    return GenerationRequest(
        task=problem.task,
        problem=problem.id,
        sample=place,
        prompt=prompt,
        sampling=Sampling(temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=new),
    )
