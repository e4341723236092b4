"""Errors within problems: the same problems, the same model, new samples.

What a reproduction test needs; the interval across problems (`intervals.py`) would accept almost anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codecard.stats.passk import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinError:
    """Standard error of pass@1 over new samples of the same problems.

    `variance_at_one` is the variance of pass@1 from one sample per problem; `se(m)` rescales it to m samples.
    `n` counts the problems with at least two valid samples, on which it stands.
    """

    se_own: float
    variance_at_one: float
    n: int

    def se(self, samples: int) -> float:
        """Standard error of pass@1 from `samples` samples per problem."""
        return math.sqrt(self.variance_at_one / samples)


def within_problem_se(tallies: Sequence[Tally]) -> WithinError | None:
    """Within-problem error of one task's pass@1, or None where no problem has two valid samples.

    V = 1/N^2 sum p_i (1 - p_i) / (n_i - 1), p_i = c_i / n_i: unbiased, since p(1-p)/(n-1) estimates the
    variance of p_i. Problems with a single sample cannot tell and are taken to be like the others.
    """
    repeated = [t for t in tallies if t.valid >= 2]
    if not repeated:
        return None
    count = len(repeated)
    n = np.array([t.valid for t in repeated], dtype=float)
    p = np.array([t.passed for t in repeated], dtype=float) / n
    spread = p * (1 - p) / (n - 1)
    return WithinError(
        se_own=float(math.sqrt(spread.sum()) / count), variance_at_one=float((spread * n).sum() / count**2), n=count
    )


def macro_within_se(parts: Sequence[WithinError], samples: int | None = None) -> float:
    """Standard error of the tasks' average over new samples: samples are drawn apart, so variances add."""
    each = [part.se_own if samples is None else part.se(samples) for part in parts]
    return math.sqrt(sum(se * se for se in each)) / len(parts)
