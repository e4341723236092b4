"""The path between two profiles, with a measurement that is made up."""

from __future__ import annotations

from typing import Any

import pytest

from codecard.model import Estimate
from codecard.runs.explain import Explanation, Measured, explain, path
from codecard.settings import load_profile, role_of
from codecard.suites import find_suite

SUITE = find_suite("multipl_e")
STRICT, CARD = (SUITE.configured(load_profile(name)) for name in ("strict", "card-2024-03"))
SAMPLE = ("multipl_e/py", "HumanEval_0_x", 0)


def effect(options: Any) -> float:
    """Two settings that interact: the total is not the sum of each alone."""
    early: bool = options.early_exit_passes
    wall: bool = options.deadline == "wall"
    return 0.5 + 0.1 * early - 0.05 * wall + 0.02 * (early and wall)


class Measure:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, options: Any) -> Measured:
        self.asked.append(options)
        estimate = Estimate(value=effect(options), low=None, high=None, n=1)
        values: dict[Any, float | None] = {SAMPLE: float(options.early_exit_passes)}
        return Measured(estimates={"multipl_e/py": {"pass@1": estimate}}, values=values)


def explained(a: Any, b: Any, measure: Measure | None = None) -> Explanation:
    return explain(("a", "b"), a, b, measure or Measure())


def test_steps_sum_to_the_total_although_settings_interact() -> None:
    """And flips are named at the step that makes them."""
    found = explained(STRICT, CARD)
    total = found.total["multipl_e/py"]
    assert total == pytest.approx(effect(CARD) - effect(STRICT))
    assert sum(step.deltas["multipl_e/py"] for step in found.steps) == pytest.approx(total, abs=1e-15)
    gained = [step.name for step in found.steps if step.gained]
    assert gained == ["early-exit rule"]


def test_only_steps_that_change_a_setting_are_measured() -> None:
    """strict and card-2024-03 differ in three of them."""
    measure = Measure()
    found = explained(STRICT, CARD, measure)
    assert [step.name for step in found.steps if step.changed] == ["limits", "toolchain", "early-exit rule"]
    assert len(measure.asked) == 4
    again = Measure()
    explained(STRICT, STRICT.model_copy(), again)
    assert len(again.asked) == 1


def test_every_setting_that_decides_a_verdict_is_a_step_that_exists() -> None:
    """No step without a setting behind it, no setting without a step; the path ends at the other profile."""
    steps = path(STRICT, CARD)
    assert {name for name, *_ in steps} == {
        "data set revision", "stop words", "limits", "toolchain", "early-exit rule"
    }  # fmt: skip
    asking = [name for name, field in type(CARD).model_fields.items() if role_of(field) != "judging"]
    assert steps[-1][2].model_copy(update={name: getattr(CARD, name) for name in asking}) == CARD


def test_settings_of_asking_are_named_and_are_no_cause() -> None:
    """Samples and sampling differ: given completions cannot show their effect, and the report says so."""
    found = explained(CARD, CARD.model_copy(update={"samples": 20}))
    assert found.unused == ("samples",)
    assert all(not step.changed for step in found.steps)
