"""From scores to numbers: pass@k, means, their intervals, and paired comparison. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from codecard.model import Estimate, Estimates, Score, suite_of
from codecard.stats.intervals import macro_average, mean_interval, mean_t_interval, wilson
from codecard.stats.paired import Compared, compare
from codecard.stats.passk import Tally, estimate_pass_at_k, pass_at_k, problem_values, tally, void_count
from codecard.stats.within import WithinError, macro_within_se, within_problem_se

__all__ = [
    "Compared",
    "Tally",
    "WithinError",
    "average",
    "compare",
    "estimate_mean",
    "estimate_pass_at_k",
    "macro_average",
    "macro_within_se",
    "mean_interval",
    "mean_t_interval",
    "pass_at_k",
    "problem_values",
    "summarise",
    "tally",
    "void_count",
    "wilson",
    "within_problem_se",
]


def summarise(scores: Iterable[Score], ks: Sequence[int] = (1, 10, 100), *, rated: bool = False) -> Estimates:
    """Every task's estimates, and `<suite>/average` where a suite has several tasks.

    `{"multipl_e/cpp": {"pass@1": Estimate, ...}, ..., "multipl_e/average": {"pass@1": Estimate}}`. A task has
    pass@k for each k up to its largest sample count (void samples included: a void does not silently
    remove a column); where values are `rated` it has `rating`, and where they are shares (a likelihood over
    several right answers, say) `mean`. Tasks in the order first seen.
    """
    tasks: dict[str, list[Score]] = {}
    for score in scores:
        tasks.setdefault(score.task, []).append(score)
    result: Estimates = {}
    for task, rows in tasks.items():
        if rated:
            result[task] = {"rating": estimate_mean(rows)}
        elif any(score.value not in (0, 1, None) for score in rows):
            result[task] = {"mean": estimate_mean(rows, shares=True)}
        else:
            most = max(t.valid + t.void for t in tally(rows))
            result[task] = {f"pass@{k}": estimate_pass_at_k(rows, k) for k in ks if k <= most}
    for suite in dict.fromkeys(suite_of(task) for task in tasks):
        members = [task for task in tasks if suite_of(task) == suite]
        shared = [k for k in ks if all(f"pass@{k}" in result[task] for task in members)]
        if len(members) > 1 and shared:
            rows = [score for task in members for score in tasks[task]]
            result[f"{suite}/average"] = {f"pass@{k}": average(rows, k) for k in shared}
    return result


def average(scores: Iterable[Score], k: int = 1) -> Estimate:
    """The unweighted mean of the unrounded pass@k of every task in `scores` (the card's Avg), clustered."""
    tallies = tally(scores)
    tasks = {task: [t for t in tallies if t.task == task] for task in dict.fromkeys(t.task for t in tallies)}
    return macro_average(
        {task: problem_values(members, k) for task, members in tasks.items()},
        {(t.task, t.problem): t.cluster for t in tallies},
        void=void_count(tallies, k),
    )


def estimate_mean(scores: Iterable[Score], *, shares: bool = False) -> Estimate:
    """Mean of one task's values: the mean over questions of each question's mean over its valid samples.

    `n` counts questions, `void` the samples without a value. Interval: Student's t over questions for ratings;
    for `shares`, which lie in [0, 1], the one of pass@k.
    """
    questions: dict[str, list[float]] = {}
    void = 0
    for score in scores:
        if score.value is None:
            void += 1
        else:
            questions.setdefault(score.problem, []).append(score.value)
    means = np.array([np.mean(values) for values in questions.values()], dtype=float)
    return mean_interval(means, list(questions), void=void) if shares else mean_t_interval(means, void=void)
