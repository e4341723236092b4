"""pass@k: the chance that at least one of k samples passes, estimated from n >= k samples per problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codecard.model import Estimate, Score
from codecard.stats.intervals import mean_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is known of one problem of one task: samples with a verdict, those that passed, and the voids."""

    task: str
    problem: str
    cluster: str
    valid: int
    passed: int
    void: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased pass@k of one problem: 1 - C(n-c, k) / C(n, k).

    `n` samples of which `c` passed, 1 <= k <= n. Chen et al. 2021 (arXiv 2107.03374), equation 1, in the
    product form of bigcode-evaluation-harness 8fc5bae6 (`estimate_pass_at_k`), which never forms the huge
    binomials: 1 - prod(1 - k/i for i in n-c+1..n), and exactly 1 where fewer than k samples failed.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} is not defined for {c} passes in {n} samples")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def tally(scores: Iterable[Score]) -> list[Tally]:
    """Counts of each (task, problem), in the order first seen.

    Values must be 0 or 1 (ValueError otherwise: a rating has no pass@k), and a sample may appear only once
    (ValueError: counting one twice would narrow its interval and move the number).
    """
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.problem), []).append(score)
    return [_tally_one(group) for group in groups.values()]


def _tally_one(group: Sequence[Score]) -> Tally:
    first = group[0]
    if len({score.sample for score in group}) != len(group):
        raise ValueError(f"{first.task} {first.problem}: the same sample is scored twice")
    values = [score.value for score in group if score.value is not None]
    if any(value not in (0, 1) for value in values):
        raise ValueError(f"{first.task} {first.problem}: pass@k needs values 0 or 1")
    return Tally(
        task=first.task,
        problem=first.problem,
        cluster=first.cluster,
        valid=len(values),
        passed=int(sum(values)),
        void=len(group) - len(values),
    )


def problem_values(tallies: Iterable[Tally], k: int) -> dict[str, float]:
    """pass@k of each problem with at least k valid samples, by problem id."""
    return {t.problem: pass_at_k(t.valid, t.passed, k) for t in tallies if t.valid >= k}


def void_count(tallies: Iterable[Tally], k: int) -> int:
    """Samples without a value for pass@k: the voids and, below k valid ones, those missing up to k."""
    return sum(max(t.void, k - t.valid) for t in tallies)


def estimate_pass_at_k(scores: Iterable[Score], k: int) -> Estimate:
    """pass@k of one task: the mean over its problems, with the interval across problems.

    Void samples are left out of a problem's n; a problem with fewer than k valid samples is left out of the
    mean. `Estimate.n` counts the problems in the mean, `Estimate.void` the samples that could not be
    scored, so an estimate with void > 0 stands on less than was asked. No problem left: value None.
    """
    tallies = tally(scores)
    if len({t.task for t in tallies}) > 1:
        raise ValueError("pass@k is estimated one task at a time; `average` takes several")
    values = problem_values(tallies, k)
    clusters: Mapping[str, str] = {t.problem: t.cluster for t in tallies}
    return mean_interval(
        np.array(list(values.values()), dtype=float),
        [clusters[problem] for problem in values],
        void=void_count(tallies, k),
    )
