"""Does a published number hold? One ladder for every kind of cell, from estimates to a verdict.

exact: our number is written as the published one. consistent: what the published text can stand for lies
within the noise of drawing new samples of the same problems. close: shown to be within a margin (two
one-sided tests), so that a wide error cannot pass by weakness. not reproduced: none of these. not
attempted: no number of ours stands for the cell, with the reason. A rating by another judge is not
comparable.

The noise is that within problems: the interval across problems would accept almost anything. Values are
fractions in [0, 1] (ratings: 1 to 10), never percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from codecard.stats.distributions import chi2_tail, fisher_two_sided, normal_quantile, normal_tail
from codecard.stats.paired import holm


class Rung(StrEnum):
    """The verdict on one cell, best first."""

    EXACT = "exact"
    CONSISTENT = "consistent"
    CLOSE = "close"
    NOT_REPRODUCED = "not reproduced"
    NOT_COMPARABLE = "different judge, not comparable"
    NOT_ATTEMPTED = "not attempted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A published number: its value, the values [low, high] its text can stand for, and its digits."""

    value: float
    low: float
    high: float
    digits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Our number for the same cell. `digits` is it written by the cell's own rule.

    `samples` a problem; `variance_at_one` is the variance of pass@1 from one sample a problem, over new
    samples of the same problems (`WithinError.variance_at_one`), None where the run cannot tell. `n` counts
    problems.
    """

    value: float
    digits: str
    n: int
    samples: int = 1
    variance_at_one: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the ladder assumes. Each is printed with the table.

    `assumed_reported_samples`: samples a problem behind a published pass@1 that does not say (it needs at
    least 10). `margin`: the same author's own re-runs differ by 0.5 to 3.4 points. `assumed_spread`: mean
    p(1-p) over problems at temperature 0.2, for runs with one sample a problem. `rating_sd`: 81 identical
    judge prompts judged twice, sd .45 a rating. `accuracy_tolerance`: data type and batch size move
    deterministic likelihood tasks by up to 0.3 points.
    """

    level: float = 0.05
    margin: float = 0.03
    assumed_reported_samples: int = 20
    assumed_spread: float = 0.0675
    rating_sd: float = 0.45
    accuracy_tolerance: float = 0.003
    count_tolerance: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A cell's verdict, with the difference (ours minus published) and the error it was judged by."""

    rung: Rung
    difference: float | None = None
    se: float | None = None
    p: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """A row's verdicts in order, and the omnibus test that all its cells agree (sum z^2 against chi^2)."""

    cells: tuple[Outcome, ...]
    chi2: float
    p: float


def pass_rates(pairs: Sequence[tuple[Target, Ours]], settings: Settings) -> RowOutcome:
    """The ladder for one row's pass@1 cells: consistency is tested with Holm's correction over the row."""
    errors = [math.sqrt(_variance(ours, settings)) for _, ours in pairs]
    p_values = [_p_value(distance(target, ours), se) for (target, ours), se in zip(pairs, errors, strict=True)]
    rejected = [p < settings.level for p in holm(p_values)]
    cells = tuple(
        _pass_rate(target, ours, se, p, bad, settings)
        for (target, ours), se, p, bad in zip(pairs, errors, p_values, rejected, strict=True)
    )
    z = [-normal_quantile(p / 2) for p in p_values]
    chi2 = sum(value * value for value in z)
    return RowOutcome(cells=cells, chi2=chi2, p=chi2_tail(chi2, len(z)) if z else 1.0)


def average_rate(target: Target, ours: Ours, parts: Sequence[Ours], settings: Settings) -> Outcome:
    """The ladder for the average of a row's tasks: samples are drawn apart, so their variances add."""
    se = math.sqrt(sum(_variance(part, settings) for part in parts)) / len(parts)
    p = _p_value(distance(target, ours), se)
    return _pass_rate(target, ours, se, p, p < settings.level, settings)


def counts(published: int, ours: int, questions: int, settings: Settings) -> Outcome:
    """The ladder for k right answers of n: greedy runs match within one question, so counts are compared."""
    difference = (ours - published) / questions
    if ours == published:
        rung = Rung.EXACT
    elif abs(ours - published) <= settings.count_tolerance:
        rung = Rung.CLOSE
    else:
        rung = Rung.NOT_REPRODUCED
    table = [[ours, questions - ours], [published, questions - published]]
    p = fisher_two_sided(table)
    reason = f"{ours} against {published} of {questions}"
    return Outcome(rung=rung, difference=difference, p=p, reason=reason)


def rating(target: Target, ours: Ours, ratings: int, settings: Settings) -> Outcome:
    """The ladder for a mean judge rating by the same judge: two judgings differ by sd * sqrt(2 / ratings)."""
    se = settings.rating_sd * math.sqrt(2 / ratings)
    p = _p_value(distance(target, ours), se)
    if ours.digits == target.digits:
        rung = Rung.EXACT
    else:
        rung = Rung.CONSISTENT if p >= settings.level else Rung.NOT_REPRODUCED
    return Outcome(rung=rung, difference=ours.value - target.value, se=se, p=p)


def accuracy(target: Target, ours: Ours, settings: Settings) -> Outcome:
    """The ladder for deterministic likelihood tasks: nothing is drawn, so the tolerance is a fixed one."""
    if ours.digits == target.digits:
        rung = Rung.EXACT
    elif distance(target, ours) <= settings.accuracy_tolerance:
        rung = Rung.CONSISTENT
    else:
        rung = Rung.NOT_REPRODUCED
    return Outcome(rung=rung, difference=ours.value - target.value)


def other_judge(judge: str, published: str) -> Outcome:
    """A rating by another judge, or by one that was not recorded, is another quantity."""
    who = f"judged by {judge}" if judge else "the judge was not recorded"
    return Outcome(rung=Rung.NOT_COMPARABLE, reason=f"{who}, published by {published}")


def not_attempted(reason: str) -> Outcome:
    """No number of ours stands for the cell."""
    return Outcome(rung=Rung.NOT_ATTEMPTED, reason=reason)


def distance(target: Target, ours: Ours) -> float:
    """How far our value lies outside what the published text can stand for; 0 inside."""
    return max(0.0, target.low - ours.value, ours.value - target.high)


def _variance(ours: Ours, settings: Settings) -> float:
    """Variance of the difference of two runs: ours, and theirs rescaled from ours to its assumed samples."""
    at_one = ours.variance_at_one
    if at_one is None:
        at_one = settings.assumed_spread / max(1, ours.n)
    return at_one / ours.samples + at_one / settings.assumed_reported_samples


def _p_value(distance_: float, se: float) -> float:
    if distance_ <= 0:
        return 1.0
    return 2 * normal_tail(distance_ / se) if se > 0 else 0.0


def _pass_rate(target: Target, ours: Ours, se: float, p: float, rejected: bool, settings: Settings) -> Outcome:
    difference = ours.value - target.value
    reach = abs(difference) + -normal_quantile(settings.level) * se
    if ours.digits == target.digits:
        rung = Rung.EXACT
    elif not rejected:
        rung = Rung.CONSISTENT
    elif reach <= settings.margin:
        rung = Rung.CLOSE
    else:
        rung = Rung.NOT_REPRODUCED
    return Outcome(rung=rung, difference=difference, se=se, p=p)
