"""Intervals across problems: the problems asked stand for all problems like them.

The interval shown beside every number. It belongs to statements about a model; whether the same problems
would give the same number again is another question (`within.py`). docs/statistics.md gives the reasons and
the measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codecard.model import Estimate
from codecard.stats.distributions import normal_quantile, t_quantile

LEVEL = 0.95
"""Two-sided confidence level of every interval shown."""

LEAST_DESIGN_EFFECT = 0.5
"""Least ratio of a mean's variance to that of as many all-or-nothing problems.

Where nearly all problems show the same value, their spread says little: a plain variance would make the
interval vanish though one rare problem moves the mean at once. 0.5 is the largest floor that leaves intervals
of ordinary sampled runs (ratios 0.6 to 1) untouched; docs/statistics.md shows the coverage with and without.
"""

Array = NDArray[np.float64]


def wilson(p: float, n: float, quantile: float | None = None) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion `p` of `n` (possibly effective) trials.

    Inside [0, 1] by construction, and of honest width at 0 and at 1, where the normal interval has none.
    `quantile` defaults to the normal one at LEVEL.
    """
    z = normal_quantile(0.5 + LEVEL / 2) if quantile is None else quantile
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding may leave 1e-17 where 0 is meant, and an interval must hold its own centre.
    return min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)


def mean_interval(values: Array, clusters: Sequence[str], *, void: int = 0) -> Estimate:
    """Mean of per-problem values in [0, 1], shape (N,), with its interval across problems.

    Values all 0 or 1, each its own cluster: Wilson. Otherwise: Wilson on the effective number of problems
    that the cluster-robust variance implies, with Student's quantile at clusters - 1 degrees of freedom
    (effective-size intervals of survey statistics: Korn & Graubard 1998; Franco et al. 2019).
    """
    n = len(values)
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, void=void, method="void: nothing was scored")
    value = float(values.mean())
    codes = _codes(clusters)
    count = int(codes.max()) + 1
    if count == n and bool(np.isin(values, (0.0, 1.0)).all()):
        low, high = wilson(value, n)
        return Estimate(value=value, low=low, high=high, n=n, void=void, method="Wilson 95%")
    influence = _sums(codes, values - value) / n
    low, high = _effective_wilson(value, influence, n)
    return Estimate(value=value, low=low, high=high, n=n, void=void, method=_effective_method(count))


def mean_t_interval(values: Array, *, void: int = 0) -> Estimate:
    """Mean of per-question ratings, shape (N,), with Student's t interval across questions."""
    n = len(values)
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, void=void, method="void: nothing was scored")
    value = float(values.mean())
    if n == 1:
        return Estimate(value=value, low=None, high=None, n=1, void=void, method="one question: no interval")
    half = t_quantile(0.5 + LEVEL / 2, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(value=value, low=value - half, high=value + half, n=n, void=void, method="t 95% over questions")


def macro_average(
    tasks: Mapping[str, Mapping[str, float]], clusters: Mapping[tuple[str, str], str], *, void: int = 0
) -> Estimate:
    """The unweighted mean of the tasks' unrounded means: the Avg column of a card.

    `tasks` maps task -> problem -> value in [0, 1]; `clusters` maps (task, problem) -> cluster. The tasks ask
    the same HumanEval problems, so their errors move together: each cluster is one observation, whose
    influence is the sum of its problems' deviations from their task's mean, over problems and tasks.
    A task without any value makes the average void: the mean of the others would be another number.
    """
    n = sum(len(values) for values in tasks.values())
    empty = sorted(task for task, values in tasks.items() if not values)
    if empty or not tasks:
        reason = f"void: no value for {', '.join(empty)}" if empty else "void: nothing was scored"
        return Estimate(value=None, low=None, high=None, n=n, void=void, method=reason)
    names: list[str] = []
    deviations: list[float] = []
    means: list[float] = []
    for task, values in tasks.items():
        mean = float(np.mean(list(values.values())))
        means.append(mean)
        for problem, value in values.items():
            names.append(clusters[(task, problem)])
            deviations.append((value - mean) / len(values) / len(tasks))
    value = float(np.mean(means))
    influence = _sums(_codes(names), np.array(deviations))
    low, high = _effective_wilson(value, influence, n)
    method = f"{_effective_method(len(influence))}, tasks averaged"
    return Estimate(value=value, low=low, high=high, n=n, void=void, method=method)


def _codes(names: Sequence[str]) -> NDArray[np.intp]:
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1]


def _sums(codes: NDArray[np.intp], values: Array) -> Array:
    return np.bincount(codes, weights=values).astype(np.float64)


def _effective_method(clusters: int) -> str:
    return f"effective-size Wilson-t 95%, {clusters} clusters"


def _effective_wilson(value: float, influence: Array, n: int) -> tuple[float, float]:
    """Wilson on the effective size of a mean of `n` values whose clusters have these influences (sum zero).

    Every value 0, or every value 1, shows no spread at all: then a cluster counts as one problem.
    """
    clusters = len(influence)
    binomial = value * (1 - value)
    if clusters == 1 or binomial <= 0:
        return wilson(value, clusters)
    robust = float(np.square(influence).sum()) * clusters / (clusters - 1)
    variance = max(robust, LEAST_DESIGN_EFFECT * binomial / n)
    quantile = t_quantile(0.5 + LEVEL / 2, clusters - 1)
    return wilson(value, binomial / variance, quantile)
