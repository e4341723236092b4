"""The measured rates behind a plan's times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Generator
from codecard.model import Completion, FinishReason, InfrastructureError, PromptStyle, Sampling
from codecard.runs.planning import Given, Observed, plan_suite
from codecard.runs.probe import MOST_ROWS, Rate, probe
from codecard.settings import load_profile
from codecard.suites import find_suite

REQUESTS = [
    GenerationRequest(task="starter/py", problem=f"p{i}", sample=0, prompt=f"def f{i}():", sampling=Sampling())
    for i in range(5)
]


class Clocked(Generator):
    """A model that reads 100 tokens a second and writes 20, by its own clock; a row's prompt has 10 tokens."""

    def __init__(self, drops: int = 0) -> None:
        self.now = 0.0
        self.widths: list[int] = []
        self._drops = drops

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        asked = list(requests)
        self.widths.append(len(asked))
        for request in asked[self._drops :]:
            new = request.sampling.max_new_tokens or 0
            self.now += 10 / 100 + (new - 1) / 20
            yield Completion(
                task=request.task, problem=request.problem, sample=request.sample, text="", style=PromptStyle.RAW,
                finish_reason=FinishReason.LENGTH, prompt_tokens=10, new_tokens=new,
            )  # fmt: skip


def test_reading_and_writing_are_told_apart() -> None:
    model = Clocked()
    rate = probe(model, REQUESTS, seconds=60, clock=lambda: model.now)
    assert rate.prompt == pytest.approx(100)
    assert rate.new == pytest.approx(20)


def test_a_probe_widens_while_it_has_time_up_to_the_most_rows() -> None:
    slow = Clocked()
    assert probe(slow, REQUESTS, seconds=1, clock=lambda: slow.now).rows == min(slow.widths)
    free = Clocked()
    assert probe(free, REQUESTS, seconds=1e9, clock=lambda: free.now).rows == MOST_ROWS


def test_a_model_that_does_not_answer_gets_no_rate() -> None:
    model = Clocked(drops=1)
    with pytest.raises(InfrastructureError, match="answered 3 of 4"):
        probe(model, REQUESTS, clock=lambda: model.now)


def test_a_plan_pays_a_prompt_once_for_all_its_samples() -> None:
    """The engine reads a problem's prompt once, however many samples it draws."""
    rate = Rate(prompt=100.0, new=50.0, rows=8, seconds=5.0)
    seen = Observed(prompt_tokens=200.0, new_tokens=10.0)
    plans = []
    for name in ("sql", "starter"):
        suite = find_suite(name)
        lengths = suite.lengths(suite.configured(load_profile("card-2024-03")))
        plans.append(plan_suite(suite, lengths, Given(samples=10, rate=rate), seen))
    one, ten = plans
    assert one.generate_s == pytest.approx(200 * 200 / 100 + 200 * 10 / 50)
    assert ten.generate_s == pytest.approx(72 * 200 / 100 + 720 * 10 / 50)
