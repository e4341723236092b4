"""What kind of value a task has: a verdict in [0, 1], or a judge's rating."""

from __future__ import annotations

RATED_SUITES = ("mt_bench",)
RATING_RANGE = (1.0, 10.0)
"""Scale of an MT-Bench rating (FastChat's judge prompts: "on a scale of 1 to 10")."""


def suite_of(task: str) -> str:
    """`multipl_e` of `multipl_e/cpp`."""
    return task.split("/", 1)[0]


def is_rated(suite: str) -> bool:
    """Whether a suite's values are ratings, which have a mean but no pass@k."""
    return suite in RATED_SUITES
