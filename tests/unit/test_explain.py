"""The path between two profiles, with a measurement that is made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codecard.model import Estimate
from codecard.pipeline.explain import ASKING, STEPS, Measured, explain, path
from codecard.tasks.definitions import Profile, load_profile

STRICT, CARD = load_profile("strict"), load_profile("card-2024-03")
SAMPLE = ("multipl_e/py", "HumanEval_0_x", 0)


def effect(profile: Profile) -> float:
    """Two settings that interact: the total is not the sum of each alone."""
    early, wall = profile.early_exit_passes, profile.deadline == "wall"
    return 0.5 + 0.1 * early - 0.05 * wall + 0.02 * (early and wall)


class Measure:
    def __init__(self) -> None:
        self.asked: list[Profile] = []

    def __call__(self, profile: Profile) -> Measured:
        self.asked.append(profile)
        value = effect(profile)
        estimate = Estimate(value=value, low=None, high=None, n=1)
        return Measured(estimates={"multipl_e/py": estimate}, values={SAMPLE: float(profile.early_exit_passes)})


def test_steps_that_do_not_sum_to_the_total() -> None:
    """Interacting settings: the steps still sum to the difference, and flips are named."""
    found = explain(STRICT, CARD, Measure())
    total = found.total["multipl_e/py"]
    assert total == pytest.approx(effect(CARD) - effect(STRICT))
    assert sum(step.deltas["multipl_e/py"] for step in found.steps) == pytest.approx(total, abs=1e-15)
    gained = [step.name for step in found.steps if step.gained]
    assert gained == ["early-exit rule"]


def test_the_same_thing_measured_twice() -> None:
    """Only steps that change a setting are measured: strict and card-2024-03 differ in three of them."""
    measure = Measure()
    found = explain(STRICT, CARD, measure)
    assert [step.name for step in found.steps if step.changed] == ["limits", "toolchain", "early-exit rule"]
    assert len(measure.asked) == 4
    again = Measure()
    explain(STRICT, replace(STRICT, name="copy"), again)
    assert len(again.asked) == 1


def test_a_setting_that_no_step_holds() -> None:
    """Every setting of a profile is in a step, or acts on asking alone; the path ends at the other profile."""
    grouped = {name for _, names in STEPS for name in names} | set(ASKING) | {"name", "summary"}
    assert set(Profile.__dataclass_fields__) <= grouped
    last = path(STRICT, CARD)[-1][2]
    same = {name: getattr(CARD, name) for name in (*ASKING, "name", "summary")}
    assert replace(last, **same) == CARD


def test_settings_of_asking_counted_as_a_cause() -> None:
    """Samples and sampling differ: given completions cannot show their effect, and the report says so."""
    found = explain(CARD, replace(CARD, samples=20), Measure())
    assert found.unused == ("samples",)
    assert all(not step.changed for step in found.steps)
