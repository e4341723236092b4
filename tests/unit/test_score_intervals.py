"""Intervals: right where they can be computed otherwise, and of honest width where they cannot."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from codecard.stats import macro_average, mean_interval, wilson


def names(n: int) -> list[str]:
    return [f"HumanEval_{i}" for i in range(n)]


@pytest.mark.parametrize(("c", "n"), [(0, 12), (12, 12), (95, 161), (1, 35), (160, 161)])
def test_greedy_interval_is_scipys_wilson(c: int, n: int) -> None:
    """One sample per problem: the interval every statistics package gives."""
    reference = stats.binomtest(c, n).proportion_ci(method="wilson")
    estimate = mean_interval(np.array([1.0] * c + [0.0] * (n - c)), names(n))
    assert estimate.method == "Wilson 95%"
    assert estimate.low == pytest.approx(reference.low, abs=1e-12)
    assert estimate.high == pytest.approx(reference.high, abs=1e-12)


def test_clustered_variance_is_the_sandwich_of_statsmodels() -> None:
    """The cluster-robust variance, computed by an independent package, gives the same interval."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 3)
    values = np.clip(np.repeat(rng.random(40), 3) + rng.normal(0, 0.2, 120), 0, 1)
    fit = sm.OLS(values, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    variance = fit.bse[0] ** 2 * 40 / 39
    mean = values.mean()
    assert variance > 0.5 * mean * (1 - mean) / 120
    expected = wilson(mean, mean * (1 - mean) / variance, float(stats.t.ppf(0.975, 39)))
    estimate = mean_interval(values, [f"HumanEval_{g}" for g in groups])
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_average_of_one_task_is_that_task() -> None:
    """Avg over a single language must not have an interval of its own kind."""
    values = np.array([0.1, 0.9, 0.5, 0.35, 0.0, 1.0])
    single = mean_interval(values, names(6))
    tasks = {"t": dict(zip(names(6), values.tolist(), strict=True))}
    pooled = macro_average(tasks, {("t", name): name for name in names(6)})
    assert (pooled.low, pooled.high) == pytest.approx((single.low, single.high))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_interval_holds_its_value_and_stays_in_range(values: list[float]) -> None:
    """No bar of a plot leaves [0, 1], and no number lies outside its own interval, whatever the values."""
    estimate = mean_interval(np.array(values), names(len(values)))
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0.3 / len(values) ** 1.0 / 10


def test_all_passed_is_not_certainty() -> None:
    """12 of 12 problems, 20 samples each: the interval must not be [1, 1]."""
    estimate = mean_interval(np.ones(12), names(12))
    assert estimate.low == pytest.approx(0.7575, abs=1e-3)
    nearly = mean_interval(np.array([1.0] * 11 + [0.95]), names(12))
    assert nearly.low is not None
    assert nearly.low < 0.9


@pytest.mark.parametrize("problems", [12, 161])
@pytest.mark.parametrize("mean", [0.02, 0.3, 0.98])
@pytest.mark.parametrize("samples", [1, 20])
def test_interval_covers_the_truth_as_often_as_it_says(problems: int, mean: float, samples: int) -> None:
    """Simulated models whose pass rate is known; a plain t interval covers 36 % in the worst cell."""
    rng = np.random.default_rng(11)
    covered = 0
    runs = 600
    for _ in range(runs):
        rates = rng.beta(0.6 * mean, 0.6 * (1 - mean), problems)
        values = rng.binomial(samples, rates) / samples
        estimate = mean_interval(values, names(problems))
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= mean <= estimate.high
    # Three standard errors of a share of 600 below 93.5 %, the least coverage of Wilson's interval here.
    assert covered / runs >= 0.935 - 3 * math.sqrt(0.935 * 0.065 / runs)


@pytest.mark.parametrize(("problems", "samples"), [(12, 1), (161, 20)])
def test_average_over_languages_covers_the_truth(problems: int, samples: int) -> None:
    """Six languages that find the same problems hard: the Avg column's interval must know it."""

    def rates(size: int, random: np.random.Generator) -> np.ndarray:
        level = 2 * random.normal(size=(size, 1)) + 1.5 * random.normal(size=(size, 6))
        return 1 / (1 + np.exp(-level))

    rng = np.random.default_rng(12)
    truth = 0.5  # by symmetry
    clusters = {(f"t{t}", name): name for t in range(6) for name in names(problems)}
    covered, runs = 0, 1000
    for _ in range(runs):
        values = rng.binomial(samples, rates(problems, rng)) / samples
        tasks = {f"t{t}": dict(zip(names(problems), values[:, t].tolist(), strict=True)) for t in range(6)}
        estimate = macro_average(tasks, clusters)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= truth <= estimate.high
    # Three standard errors of a share of 1,000 below 95 %.
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
