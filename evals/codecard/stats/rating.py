"""Ratings of a dialogue benchmark: their mean, its interval clustered by question, and a judge's calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codecard.model import Estimate
from codecard.stats.distributions import t_quantile
from codecard.stats.intervals import LEVEL, Array

RATING_RANGE = (1.0, 10.0)
"""Scale of an MT-Bench rating (FastChat's judge prompts: "on a scale of 1 to 10")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One answer's rating, or None with the reason in `void`."""

    question: str
    turn: int
    rating: float | None
    void: str = ""


def estimate_ratings(rated: Iterable[Rated], *, judge: str = "", allow_missing: bool = False) -> dict[str, Estimate]:
    """`score` over all turns and `turn_1`, `turn_2`, …: the mean of the ratings.

    FastChat 0e6d3e4b, show_result.py, pools all ratings of both turns; it drops failed ones unseen. Here a
    mean with ratings missing is refused (value None) unless `allow_missing`, and `void` counts them either way:
    what fails to be judged is not a random part. `n` counts the questions behind the mean.
    """
    rows = list(rated)
    turns = sorted({row.turn for row in rows})
    groups = {"score": rows} | {f"turn_{turn}": [r for r in rows if r.turn == turn] for turn in turns}
    return {name: _estimate(group, judge, allow_missing) for name, group in groups.items()}


def _estimate(rows: Sequence[Rated], judge: str, allow_missing: bool) -> Estimate:
    values = [(row.question, row.rating) for row in rows if row.rating is not None]
    questions = len({question for question, _ in values})
    missing = len(rows) - len(values)
    by = f" by {judge}" if judge else ""
    if not values or (missing and not allow_missing):
        method = f"refused: {missing} of {len(rows)} ratings missing{by}"
        return Estimate(value=None, low=None, high=None, n=questions, void=missing, method=method)
    ratings = np.array([rating for _, rating in values], dtype=float)
    value = float(ratings.mean())
    half = _half_width(ratings, [question for question, _ in values])
    short = f", {missing} of {len(rows)} missing" if missing else ""
    method = f"mean of {len(ratings)} ratings{by}{short}; "
    if half is None:
        return Estimate(
            value=value, low=None, high=None, n=questions, void=missing, method=f"{method}one question: no interval"
        )
    lowest, highest = RATING_RANGE
    return Estimate(
        value=value,
        # The reference's parser lets ratings off the scale through, and an interval must hold its own centre.
        low=min(max(lowest, value - half), value),
        high=max(min(highest, value + half), value),
        n=questions,
        void=missing,
        method=f"{method}t 95% clustered by {questions} questions",
    )


def _half_width(values: Array, clusters: Sequence[str]) -> float | None:
    """Half the interval of a mean whose errors move together inside a cluster; None with fewer than two.

    Cluster-robust variance of a mean with the C/(C-1) factor (Miller 2024, arXiv 2411.00640, section 2.2),
    Student's t at C - 1 degrees of freedom. With as many values in each cluster it equals the t interval over
    the clusters' means.
    """
    codes = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)[1]
    count = int(codes.max()) + 1
    if count < 2:
        return None
    influence = np.bincount(codes, weights=values - values.mean()) / len(values)
    error = math.sqrt(float(np.square(influence).sum()) * count / (count - 1))
    return t_quantile(0.5 + LEVEL / 2, count - 1) * error


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a judge compares with the reference judge on the same answers.

    `exact` and `within_one` are shares of the ratings both gave. `bias` is judge minus reference, with its
    interval clustered by question; `spread` is the standard deviation of that difference for one rating;
    `missing` counts answers that this judge did not rate. None where fewer than one (two) ratings allow it.
    """

    n: int
    missing: int
    exact: float | None = None
    within_one: float | None = None
    bias: float | None = None
    low: float | None = None
    high: float | None = None
    spread: float | None = None

    @property
    def line(self) -> str:
        if self.bias is None or self.exact is None or self.within_one is None:
            return f"calibration: no rating in common with the reference judge ({self.missing} missing)"
        interval = "" if self.low is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return (
            f"calibration on {self.n} ratings of the reference judge: same rating {self.exact:.0%}, within one "
            f"point {self.within_one:.0%}, bias {self.bias:+.2f}{interval}"
            + (f", {self.missing} not rated" if self.missing else "")
        )


def calibrate(pairs: Iterable[tuple[str, float, float | None]]) -> Calibration:
    """From (question, the reference judge's rating, this judge's rating or None)."""
    rows = list(pairs)
    both = [(question, theirs, ours) for question, theirs, ours in rows if ours is not None]
    missing = len(rows) - len(both)
    if not both:
        return Calibration(n=0, missing=missing)
    difference = np.array([ours - theirs for _, theirs, ours in both], dtype=float)
    half = _half_width(difference, [question for question, _, _ in both])
    bias = float(difference.mean())
    return Calibration(
        n=len(both),
        missing=missing,
        exact=float((difference == 0).mean()),
        within_one=float((np.abs(difference) <= 1).mean()),
        bias=bias,
        low=None if half is None else bias - half,
        high=None if half is None else bias + half,
        spread=float(difference.std(ddof=1)) if len(both) > 1 else None,
    )
