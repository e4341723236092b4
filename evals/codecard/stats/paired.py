"""Paired comparison of two runs, and the gate.

The problems are the same, so differences are taken problem by problem: what is hard for both runs cancels.
Samples of a problem are averaged first (they are no independent observations of the benchmark), and the same
HumanEval problem in several languages is one observation: a cluster. Miller 2024 (arXiv 2411.00640) gives the
reasons; docs/statistics.md gives the measured coverage and false-alarm rate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecard.model import Comparison, Decision, Score, suite_of
from codecard.stats.distributions import binomial_up_to, t_quantile, t_tail

ALPHA = 0.05
POWER = 0.80
MARGIN = 0.03
"""Loss of pass@1 that a gate tolerates: one author's own re-runs of one model spread by .005 to .034."""
FLIPS = 10_000
SEED = 20240325

Array = NDArray[np.float64]
Scales = Mapping[str, tuple[float, float]]
"""Suites whose values are ratings → the lowest and the highest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One problem in both runs. Values are means over valid samples; None where a run has none.

    `worst` and `best` are the least and the greatest difference that the voids leave possible.
    """

    task: str
    problem: str
    cluster: str
    base: float | None
    new: float | None
    worst: float
    best: float
    single: bool
    """One sample on either side: the difference is -1, 0 or 1."""

    @property
    def difference(self) -> float | None:
        return None if self.base is None or self.new is None else self.new - self.base

    @property
    def whole(self) -> bool:
        """No void can move it."""
        return self.worst == self.best


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All comparisons of two runs: `tasks` by task, `pooled` by suite, and the one decision of the gate."""

    tasks: Mapping[str, Comparison]
    pooled: Mapping[str, Comparison]
    decision: Decision
    margin: float


def compare(
    base: Iterable[Score],
    new: Iterable[Score],
    *,
    margin: float = MARGIN,
    seed: int = SEED,
    scales: Scales | None = None,
) -> Compared:
    """Compare two runs of the same tasks, paired by problem.

    The primary, declared beforehand, is each suite's pooled pass@1 (every problem weighs the same); ratings
    decide only where nothing else was asked, with the margin as a share of their scale. Tasks are
    information, with Holm's adjustment. Equal inputs and seed give equal results.
    """
    scales = scales or {}
    groups: dict[str, list[Pair]] = {}
    for pair in pair_up(base, new, scales):
        groups.setdefault(pair.task, []).append(pair)
    suites: dict[str, list[Pair]] = {}
    for task, pairs in groups.items():
        suites.setdefault(suite_of(task), []).extend(pairs)
    tasks = _adjusted({task: _comparison(pairs, margin, seed, scales) for task, pairs in groups.items()})
    pooled = {suite: _comparison(pairs, margin, seed, scales) for suite, pairs in suites.items()}
    primary = {s: c for s, c in pooled.items() if s not in scales} or pooled
    primary = _adjusted(primary)
    return Compared(tasks=tasks, pooled={**pooled, **primary}, decision=_overall(list(primary.values())), margin=margin)


def pair_up(base: Iterable[Score], new: Iterable[Score], scales: Scales | None = None) -> list[Pair]:
    """Every problem of either run, in base order; a problem or sample that one run lacks is void there."""
    left, right = _by_problem(base), _by_problem(new)
    ends = {key: (scales or {}).get(suite_of(key[0]), (0.0, 1.0)) for key in [*left, *right]}
    return [_pair(key, left.get(key, []), right.get(key, []), *found) for key, found in ends.items()]


def _by_problem(scores: Iterable[Score]) -> dict[tuple[str, str], list[Score]]:
    problems: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        problems.setdefault((score.task, score.problem), []).append(score)
    return problems


def _pair(key: tuple[str, str], base: Sequence[Score], new: Sequence[Score], lowest: float, highest: float) -> Pair:
    base_value, base_low, base_high = _bounds(base, lowest, highest)
    new_value, new_low, new_high = _bounds(new, lowest, highest)
    return Pair(
        task=key[0],
        problem=key[1],
        cluster=(base or new)[0].cluster,
        base=base_value,
        new=new_value,
        worst=new_low - base_high,
        best=new_high - base_low,
        single=len(base) == len(new) == 1,
    )


def _bounds(scores: Sequence[Score], lowest: float, highest: float) -> tuple[float | None, float, float]:
    """Mean of the valid samples, and the means if every void were the lowest or the highest value."""
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return None, lowest, highest
    void, total = len(scores) - len(values), sum(values)
    mean = total / len(values)
    if not void:
        return mean, mean, mean
    return mean, (total + void * lowest) / len(scores), (total + void * highest) / len(scores)


# ---------------------------------------------------------------- one comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """A mean difference with its cluster-robust error. `df` is clusters - 1; 0 means no error is known."""

    delta: float
    se: float
    df: int
    p_exact: float

    @property
    def p(self) -> float:
        """Two-sided p of Student's t."""
        if self.delta == 0:
            return 1.0
        if self.df == 0:
            return 1.0
        return 0.0 if self.se == 0 else 2 * t_tail(abs(self.delta) / self.se, self.df)

    def bound(self, tail: float) -> float:
        """Half-width of the interval that leaves `tail` beyond each end."""
        return math.inf if self.df == 0 else t_quantile(1 - tail, self.df) * self.se


def paired_test(differences: Array, clusters: Sequence[str], *, seed: int = SEED) -> PairedTest:
    """Test the mean of `differences`, shape (N,), whose observations are the clusters.

    The variance is the cluster-robust one with the factor C/(C-1); with every pair its own cluster it is the
    paired t test. `p_exact` is the sign-flip permutation over clusters.
    """
    codes = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    n, count = len(differences), int(codes.max()) + 1
    delta = float(differences.mean())
    influence = np.bincount(codes, weights=differences - delta)
    se = math.sqrt(float(np.square(influence).sum()) * count / (count - 1)) / n if count > 1 else 0.0
    sums = np.bincount(codes, weights=differences).astype(np.float64)
    # A spread of rounding errors is no spread: differences are multiples of 1/samples.
    return PairedTest(delta=delta, se=se if se > 1e-12 else 0.0, df=count - 1, p_exact=sign_flip(sums, seed=seed))


def sign_flip(sums: Array, *, seed: int = SEED) -> float:
    """Two-sided p of the sign-flip permutation: under no effect each cluster's sum is as likely negated.

    Exact by enumeration up to 13 clusters that differ, else 10,000 seeded draws with the observed one counted
    (Phipson & Smyth 2010), so p is never 0.
    """
    moved = sums[sums != 0]
    if len(moved) == 0:
        return 1.0
    observed = abs(float(moved.sum())) - 1e-9
    if 2 ** len(moved) <= FLIPS:
        bits = (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1
        return float((np.abs((2 * bits - 1) @ moved) >= observed).mean())
    signs = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, len(moved)), dtype=np.int8)
    totals = np.abs(2 * (signs.astype(np.float64) @ moved) - moved.sum())
    return float((1 + (totals >= observed).sum()) / (1 + FLIPS))


def mcnemar(gained: int, lost: int) -> tuple[float, float]:
    """McNemar's test on discordant pairs: (exact, mid-p), two-sided.

    The mid-p counts half of the observed table's probability (Fagerland et al. 2013): the exact test is too
    careful for few discordant pairs, the chi-squared one not careful enough.
    """
    n = gained + lost
    if n == 0:
        return 1.0, 1.0
    fewer = min(gained, lost)
    below, up_to = binomial_up_to(fewer - 1, n, 0.5), binomial_up_to(fewer, n, 0.5)
    exact = min(1.0, 2 * up_to)
    mid = min(1.0, up_to + below)
    return exact, mid


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): family-wise error over all the tests, whatever their dependence."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def detectable_effect(se: float, df: int) -> float | None:
    """Smallest true change that a two-sided 5 % test finds in 80 % of comparisons; None without an error."""
    if df == 0:
        return None
    return (t_quantile(1 - ALPHA / 2, df) + t_quantile(POWER, df)) * se


def decide(test: PairedTest, margin: float, *, p: float | None = None) -> Decision:
    """Non-inferiority with a margin (in the difference's own unit).

    No regression: the one-sided 95 % lower bound is not below -margin, or no outcome differs at all.
    Regression: it is, and the loss is beyond noise: the two-sided t (`p`, adjusted by the caller where
    several decide) and the exact check both say so. Anything else is inconclusive.
    """
    if test.delta == 0 and test.se == 0:
        return Decision.NO_REGRESSION
    if test.delta - test.bound(ALPHA) >= -margin:
        return Decision.NO_REGRESSION
    t_p = test.p if p is None else p
    if test.delta < 0 and t_p <= ALPHA and test.p_exact <= ALPHA:
        return Decision.REGRESSION
    return Decision.INCONCLUSIVE


def _comparison(pairs: Sequence[Pair], margin: float, seed: int, scales: Scales) -> Comparison:
    """One task's or one suite's comparison, its decision checked against what the voids could hide."""
    valid = [pair for pair in pairs if pair.difference is not None]
    void = sum(not pair.whole for pair in pairs)
    if not valid:
        return Comparison(
            delta=None, low=None, high=None, p=None, detectable=None,
            decision=Decision.CANNOT_TELL, void=void, method="void: no problem has a value in both runs",
        )  # fmt: skip
    lowest, highest = scales.get(suite_of(pairs[0].task), (0.0, 1.0))
    scale = highest - lowest
    test, method = _test(valid, seed)
    decision = decide(test, margin * scale)
    if void:
        names = [pair.cluster for pair in pairs]
        extremes = [np.array([p.worst for p in pairs]), np.array([p.best for p in pairs])]
        if any(decide(paired_test(e, names, seed=seed), margin * scale) != decision for e in extremes):
            decision = Decision.CANNOT_TELL
    half = test.bound(ALPHA / 2)
    gained, lost = _flips(valid, middle=(lowest + highest) / 2)
    return Comparison(
        delta=test.delta,
        low=max(-scale, test.delta - half),
        high=min(scale, test.delta + half),
        p=test.p,
        # One cluster that differs is the least that a comparison can see.
        detectable=detectable_effect(max(test.se, scale / len(valid)), test.df),
        gained=gained,
        lost=lost,
        decision=decision,
        base=float(np.mean([pair.base for pair in valid if pair.base is not None])),
        new=float(np.mean([pair.new for pair in valid if pair.new is not None])),
        p_exact=test.p_exact,
        n=len(valid),
        clusters=test.df + 1,
        void=void,
        method=method,
    )


def _test(pairs: Sequence[Pair], seed: int) -> tuple[PairedTest, str]:
    differences = np.array([pair.difference for pair in pairs], dtype=np.float64)
    test = paired_test(differences, [pair.cluster for pair in pairs], seed=seed)
    binary = all(pair.single and pair.base in (0, 1) and pair.new in (0, 1) for pair in pairs)
    if binary and test.df + 1 == len(pairs):
        _, mid = mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
        return dataclasses.replace(test, p_exact=mid), "paired t, McNemar mid-p"
    return test, f"paired t over {test.df + 1} clusters, sign-flip permutation"


def _flips(pairs: Sequence[Pair], middle: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`task:problem` of problems that most samples now pass and did not, and the reverse; largest first."""
    ordered = sorted(pairs, key=lambda pair: -abs(pair.difference or 0.0))
    gained: list[str] = []
    lost: list[str] = []
    for pair in ordered:
        if pair.base is None or pair.new is None:
            continue
        if pair.base < middle <= pair.new:
            gained.append(f"{pair.task}:{pair.problem}")
        elif pair.new < middle <= pair.base:
            lost.append(f"{pair.task}:{pair.problem}")
    return tuple(gained), tuple(lost)


def _adjusted(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The comparisons with Holm's p; a regression that the adjustment does not uphold is inconclusive."""
    tested = [(name, c.p) for name, c in comparisons.items() if c.p is not None]
    adjusted = dict(zip([name for name, _ in tested], holm([p for _, p in tested]), strict=True))
    result: dict[str, Comparison] = {}
    for name, comparison in comparisons.items():
        p = adjusted.get(name)
        lost = comparison.decision == Decision.REGRESSION and p is not None and p > ALPHA
        decision = Decision.INCONCLUSIVE if lost else comparison.decision
        result[name] = dataclasses.replace(comparison, p_holm=p, decision=decision)
    return result


def _overall(primary: Sequence[Comparison]) -> Decision:
    """The worst of the suites' decisions; nothing compared cannot tell."""
    found = {comparison.decision for comparison in primary}
    for decision in (Decision.REGRESSION, Decision.CANNOT_TELL, Decision.INCONCLUSIVE):
        if decision in found:
            return decision
    return Decision.NO_REGRESSION if found else Decision.CANNOT_TELL
