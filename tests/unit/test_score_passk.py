"""pass@k, voids and averages: numbers that must not move."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb

import pytest

from codecard.model import Score
from codecard.stats import average, estimate_mean, estimate_pass_at_k, pass_at_k, summarise, tally
from codecard.stats.within import macro_within_se, within_problem_se


def scores(task: str, problems: Mapping[str, Sequence[float | None]]) -> list[Score]:
    return [
        Score(
            task=task,
            problem=problem,
            cluster="_".join(problem.split("_")[:2]),
            sample=sample,
            value=value,
            void="" if value is not None else "sandbox_error",
        )
        for problem, values in problems.items()
        for sample, value in enumerate(values)
    ]


@pytest.mark.parametrize(("n", "k"), [(5, 1), (5, 3), (6, 6), (7, 2)])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_pass(n: int, k: int) -> None:
    """The plug-in 1-(1-c/n)^k is biased; ours must be the share of k-subsets that hold a passing sample."""
    for c in range(n + 1):
        subsets = list(combinations(range(n), k))
        share = sum(any(i < c for i in subset) for subset in subsets) / len(subsets)
        assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-12)


def test_pass_at_100_of_200_does_not_overflow() -> None:
    """C(200, 100) has 60 digits; the product form must agree with exact integers."""
    for c in (0, 1, 7, 100, 101, 200):
        assert pass_at_k(200, c, 100) == pytest.approx(1 - comb(200 - c, 100) / comb(200, 100), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_impossible_counts_are_refused_not_scored(n: int, c: int, k: int) -> None:
    """A count from a broken join must stop the run, not become a plausible number."""
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


def test_a_void_sample_is_not_a_wrong_one() -> None:
    """A sandbox that broke on one of two samples: the problem stands on the other, and the void is told."""
    estimate = estimate_pass_at_k(scores("t/x", {"P_1": [1, None], "P_2": [0, 1]}), 1)
    assert estimate.value == pytest.approx(0.75)
    assert (estimate.n, estimate.void) == (2, 1)


def test_a_problem_of_voids_only_leaves_the_mean() -> None:
    """An image that failed for one problem must not lower the score by 1/N."""
    estimate = estimate_pass_at_k(scores("t/x", {"P_1": [1], "P_2": [None]}), 1)
    assert (estimate.value, estimate.n, estimate.void) == (1.0, 1, 1)


def test_a_task_of_voids_has_no_number() -> None:
    """A machine without the compiler shows no 0.00."""
    estimate = estimate_pass_at_k(scores("t/x", {"P_1": [None], "P_2": [None]}), 1)
    assert (estimate.value, estimate.low, estimate.high, estimate.n, estimate.void) == (None, None, None, 0, 2)


def test_too_few_samples_for_k_are_void_for_k() -> None:
    """pass@2 of a problem with one valid sample does not exist; the missing sample is counted."""
    rows = scores("t/x", {"P_1": [1, 1], "P_2": [1, None], "P_3": [0]})
    estimate = estimate_pass_at_k(rows, 2)
    assert (estimate.value, estimate.n, estimate.void) == (1.0, 1, 2)


def test_the_same_sample_twice_is_refused() -> None:
    """A journal read twice must not double n and narrow the interval."""
    rows = scores("t/x", {"P_1": [1]})
    with pytest.raises(ValueError, match="twice"):
        estimate_pass_at_k(rows + rows, 1)


def test_a_rating_has_no_pass_at_k() -> None:
    """A judge's 7 must never be averaged as a pass."""
    with pytest.raises(ValueError, match="0 or 1"):
        tally(scores("mt_bench/coding", {"121": [7.0]}))


def test_the_average_is_of_unrounded_cells() -> None:
    """The card's .44 for cells that round to a mean of .4333: rounding first gives another number."""
    rows = []
    for task, passed in zip("abcdef", (555, 455, 425, 425, 444, 325), strict=True):
        rows += scores(f"multipl_e/{task}", {f"P_{i}": [float(i < passed)] for i in range(1000)})
    assert average(rows).value == pytest.approx((0.555 + 0.455 + 0.425 + 0.425 + 0.444 + 0.325) / 6)


def test_tasks_of_unequal_size_weigh_the_same_in_the_average() -> None:
    """Java has 158 problems and Python 161; the card's Avg is over languages, not problems."""
    rows = scores("multipl_e/a", {"P_1": [1]}) + scores("multipl_e/b", {f"P_{i}": [0] for i in range(9)})
    assert average(rows).value == pytest.approx(0.5)


def test_an_average_with_a_void_task_is_void() -> None:
    """The mean of five languages must not be shown as the mean of six."""
    rows = scores("multipl_e/a", {"P_1": [1]}) + scores("multipl_e/b", {"P_1": [None]})
    estimate = average(rows)
    assert estimate.value is None
    assert estimate.void == 1
    assert "multipl_e/b" in estimate.method


def test_languages_of_one_problem_are_not_independent_observations() -> None:
    """The same problems in six languages: an interval as of 6 N problems would be 2.4 times too short."""
    outcomes = [float(i % 2) for i in range(60)]
    one = scores("multipl_e/a", {f"P_{i}": [v] for i, v in enumerate(outcomes)})
    copies = [
        s for lang in "abcdef" for s in scores(f"multipl_e/{lang}", {f"P_{i}": [v] for i, v in enumerate(outcomes)})
    ]
    single, pooled = estimate_pass_at_k(one, 1), average(copies)
    assert single.low is not None
    assert pooled.low == pytest.approx(single.low, abs=0.01)


def test_summary_has_each_k_that_was_sampled_and_no_other() -> None:
    """pass@10 of a greedy run is not 1 or 0: it is absent."""
    rows = scores("multipl_e/cpp", {"P_1": [1] * 10, "P_2": [None] * 10})
    result = summarise(rows)
    assert list(result) == ["multipl_e/cpp"]
    assert list(result["multipl_e/cpp"]) == ["pass@1", "pass@10"]
    assert list(summarise(scores("multipl_e/cpp", {"P_1": [1]}))["multipl_e/cpp"]) == ["pass@1"]


def test_summary_of_two_tasks_adds_their_average_and_keeps_ratings_apart() -> None:
    """The page's Avg column and the judge's mean come from one call, and never mix."""
    rows = scores("sql/date", {"1": [1]}) + scores("sql/join", {"2": [0]})
    result = summarise(rows)
    assert list(result) == ["sql/date", "sql/join", "sql/average"]
    assert result["sql/average"]["pass@1"].value == 0.5
    judged = summarise(scores("mt_bench/coding", {"121": [7.0, None], "122": [4.0]}), rated=True)
    rating = judged["mt_bench/coding"]["rating"]
    assert (rating.value, rating.n, rating.void) == (5.5, 2, 1)


def test_ratings_have_students_interval_over_questions() -> None:
    """Two ratings of one question are not two questions."""
    estimate = estimate_mean(scores("mt_bench/coding", {"1": [2.0, 4.0], "2": [5.0], "3": [7.0]}))
    assert estimate.value == pytest.approx(5.0)
    assert estimate.high is not None
    assert estimate.high - 5.0 == pytest.approx(4.302653 * 2.0 / 3**0.5, rel=1e-6)


def test_within_problem_error_is_unbiased_for_the_variance_of_a_rerun() -> None:
    """The reproduction verdict stands on this: enumerate every outcome of two problems with three samples."""
    chances, n = (0.3, 0.8), 3
    expected = 0.0
    for a in range(n + 1):
        for b in range(n + 1):
            weight = 1.0
            for c, p in ((a, chances[0]), (b, chances[1])):
                weight *= comb(n, c) * p**c * (1 - p) ** (n - c)
            rows = scores("t/x", {"P_1": [1] * a + [0] * (n - a), "P_2": [1] * b + [0] * (n - b)})
            error = within_problem_se(tally(rows))
            assert error is not None
            expected += weight * error.se_own**2
            assert error.se(n) == pytest.approx(error.se_own)
    assert expected == pytest.approx(sum(p * (1 - p) / n for p in chances) / 4)


def test_one_greedy_sample_cannot_tell_the_within_problem_error() -> None:
    """No error from n = 1: None, not 0, for 0 would call every difference real."""
    assert within_problem_se(tally(scores("t/x", {"P_1": [1], "P_2": [0]}))) is None


def test_independent_tasks_average_their_within_errors() -> None:
    """Six equal errors shrink by the root of six."""
    error = within_problem_se(tally(scores("t/x", {"P_1": [1, 0], "P_2": [0, 1]})))
    assert error is not None
    assert macro_within_se([error] * 6) == pytest.approx(error.se_own / 6**0.5)
    assert macro_within_se([error] * 6, samples=8) == pytest.approx(error.se_own / 6**0.5 / 2)


def test_values_that_are_shares_have_a_mean_and_stop_no_report() -> None:
    """A likelihood shared by several right answers is no verdict: a run that holds such a task is still shown."""
    result = summarise(scores("zero_shot/a", {"1": [0.4], "2": [0.9]}) + scores("zero_shot/b", {"1": [1.0]}))
    assert result["zero_shot/a"]["mean"].value == pytest.approx(0.65)
    assert "zero_shot/average" not in result
