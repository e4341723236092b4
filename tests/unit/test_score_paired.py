"""The paired comparison and its gate, against independent computation and simulated truth."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from codecard.model import Decision, Score
from codecard.stats.paired import compare, decide, detectable_effect, holm, mcnemar, pair_up, paired_test, sign_flip
from codecard.stats.rating import RATING_RANGE

Values = Mapping[str, Sequence[float | None]]


def run(task: str, problems: Values) -> list[Score]:
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


def greedy(task: str, outcomes: Sequence[float | None]) -> list[Score]:
    return run(task, {f"P_{i}": [value] for i, value in enumerate(outcomes)})


def test_each_problem_its_own_cluster_is_scipys_paired_t_test() -> None:
    """One language: the p value and interval every package gives."""
    rng = np.random.default_rng(2)
    base, new = rng.random(35), rng.random(35)
    ours = paired_test(new - base, [f"P_{i}" for i in range(35)])
    reference = stats.ttest_rel(new, base)
    interval = reference.confidence_interval(0.95)
    assert ours.p == pytest.approx(reference.pvalue)
    assert ours.delta - ours.bound(0.025) == pytest.approx(interval.low)
    assert ours.delta + ours.bound(0.025) == pytest.approx(interval.high)


def test_pooled_languages_have_the_clustered_error_of_statsmodels() -> None:
    """Six languages of one problem are one observation: the sandwich variance of an independent package."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(30), 6)
    differences = np.repeat(rng.normal(0, 0.4, 30), 6) + rng.normal(0, 0.2, 180)
    fit = sm.OLS(differences, np.ones(180)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    ours = paired_test(differences, [f"P_{g}" for g in groups])
    assert ours.se == pytest.approx(fit.bse[0] * (30 / 29) ** 0.5)
    assert ours.df == 29
    naive = differences.std(ddof=1) / 180**0.5
    assert ours.se > 1.8 * naive


def test_mcnemar_is_statsmodels_exact_and_its_mid_p() -> None:
    """Greedy runs differ by discordant pairs alone."""
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for gained, lost in ((0, 5), (3, 9), (12, 12), (1, 0)):
        exact, mid = mcnemar(gained, lost)
        assert exact == pytest.approx(tables.mcnemar([[40, gained], [lost, 60]], exact=True).pvalue)
        tail = stats.binomtest(min(gained, lost), gained + lost).pvalue
        point = stats.binom.pmf(min(gained, lost), gained + lost, 0.5)
        assert mid == pytest.approx(1.0 if gained == lost else tail - point)
    assert mcnemar(0, 0) == (1.0, 1.0)


def test_holm_is_statsmodels_holm() -> None:
    """Six languages looked at one by one must not raise six times the false alarms."""
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [0.04, 0.001, 0.2, 0.012, 0.9, 0.012]
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_sign_flip_of_few_clusters_is_scipys_exact_permutation() -> None:
    """Twelve starter problems: every one of the 4,096 sign patterns is counted."""
    rng = np.random.default_rng(5)
    sums = np.round(rng.normal(0.3, 1, 12), 2)
    reference = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip(sums) == pytest.approx(reference.pvalue)


def test_sign_flip_of_many_clusters_agrees_with_student_and_repeats() -> None:
    """10,000 seeded draws: the same answer twice, near the t test where both hold."""
    rng = np.random.default_rng(6)
    sums = rng.normal(0.1, 1, 161)
    reference = float(stats.ttest_1samp(sums, 0).pvalue)
    assert sign_flip(sums) == sign_flip(sums)
    assert sign_flip(sums) == pytest.approx(reference, abs=0.015)
    assert sign_flip(np.full(60, 1.0)) > 0


def test_detectable_effect_has_the_power_it_names() -> None:
    """A true change of that size, tested again and again, is found four times in five."""
    rng = np.random.default_rng(8)
    effect = detectable_effect(0.3 / 161**0.5, 160)
    assert effect is not None
    draws = rng.normal(effect, 0.3, size=(4000, 161))
    p = stats.ttest_1samp(draws, 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.80, abs=0.02)


def test_a_run_against_itself_is_no_regression() -> None:
    """CI that compares a checkpoint with itself must be green, however few its problems."""
    rows = greedy("starter/py", [1, 0, 1])
    result = compare(rows, rows)
    assert result.decision is Decision.NO_REGRESSION
    pooled = result.pooled["starter"]
    assert (pooled.delta, pooled.p, pooled.p_exact, pooled.gained, pooled.lost) == (0, 1, 1, (), ())


def test_a_large_loss_is_a_regression_and_names_the_problems() -> None:
    """Twenty of sixty problems lost: told, with each of them."""
    base = greedy("multipl_e/py", [1] * 60)
    new = greedy("multipl_e/py", [0] * 20 + [1] * 40)
    result = compare(base, new)
    task = result.tasks["multipl_e/py"]
    assert result.decision is Decision.REGRESSION
    assert task.delta == pytest.approx(-1 / 3)
    assert task.lost == tuple(f"multipl_e/py:P_{i}" for i in range(20))
    assert task.gained == ()
    assert task.method == "paired t, McNemar mid-p"
    assert task.low is not None
    assert task.high is not None
    assert task.low < -1 / 3 < task.high < 0


def test_a_gain_never_fails_the_gate() -> None:
    """The gate has one side."""
    base, new = greedy("t/py", [0] * 20 + [1] * 40), greedy("t/py", [1] * 60)
    assert compare(base, new).decision is Decision.NO_REGRESSION


def test_a_wide_error_cannot_pass_by_weakness() -> None:
    """Three lost, three gained of twelve: not shown to be worse, not shown to be no worse."""
    base = greedy("t/py", [1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0])
    new = greedy("t/py", [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    assert compare(base, new).decision is Decision.INCONCLUSIVE


def test_a_small_loss_within_the_margin_is_no_regression() -> None:
    """A certain loss of half a point is within a margin of three."""
    base = run("t/py", {f"P_{i}": [1.0] * 20 for i in range(161)})
    new = run("t/py", {f"P_{i}": [1.0] * 20 if i % 10 else [0.0] + [1.0] * 19 for i in range(161)})
    result = compare(base, new)
    pooled = result.pooled["t"]
    assert pooled.high is not None
    assert pooled.high < 0
    assert result.decision is Decision.NO_REGRESSION
    assert compare(base, new, margin=0.001).decision is Decision.REGRESSION


def test_voids_that_could_turn_the_decision_cannot_tell() -> None:
    """A sandbox that failed on a quarter of the new run must not open the gate."""
    base = greedy("t/py", [1] * 60)
    few = compare(base, greedy("t/py", [1] * 59 + [None]))
    many = compare(base, greedy("t/py", [1] * 45 + [None] * 15))
    assert few.pooled["t"].void == 1
    assert few.decision is Decision.CANNOT_TELL
    assert many.decision is Decision.CANNOT_TELL
    assert many.pooled["t"].n == 45


def test_one_void_of_many_does_not_stop_a_clear_decision() -> None:
    """One failed container in 966 programs cannot hide a loss of three points; the gate stays useful."""
    base = [s for lang in "abcdef" for s in greedy(f"t/{lang}", [1] * 161)]
    new = [s for lang in "abcdef" for s in greedy(f"t/{lang}", [1] * 160 + [None if lang == "a" else 1])]
    result = compare(base, new)
    assert result.decision is Decision.NO_REGRESSION
    assert result.pooled["t"].void == 1


def test_missing_problems_are_voids_not_losses() -> None:
    """A new run that stopped early: fewer pairs and no decision, never a regression made of absence."""
    base = greedy("t/py", [1] * 60)
    result = compare(base, base[:30])
    assert result.decision is Decision.CANNOT_TELL
    assert (result.pooled["t"].delta, result.pooled["t"].n, result.pooled["t"].void) == (0, 30, 30)


def test_voids_only_have_no_number() -> None:
    """Nothing executed: no delta, no p, cannot tell."""
    result = compare(greedy("t/py", [None] * 5), greedy("t/py", [1] * 5))
    assert result.decision is Decision.CANNOT_TELL
    assert result.pooled["t"].delta is None
    assert compare([], []).decision is Decision.CANNOT_TELL


def test_a_void_sample_among_good_ones_bounds_the_difference() -> None:
    """One of four samples void: the value stands on three, and the void could be either."""
    (pair,) = pair_up(run("t/x", {"P_1": [1, 1, 0, None]}), run("t/x", {"P_1": [1, 1, 1, 1]}))
    assert pair.base == pytest.approx(2 / 3)
    assert pair.worst == pytest.approx(0.25)
    assert pair.best == pytest.approx(0.5)


def test_task_alarms_are_held_to_holm() -> None:
    """Five unlucky problems in one language of six: p of .03 alone is no finding among six."""
    base, new = [], []
    for lang in "abcdef":
        outcomes = [0.0] * 5 + [1.0] * 35 if lang == "c" else [1.0, 0.0] + [1.0] * 38
        start = [1.0] * 40 if lang == "c" else [0.0, 1.0] + [1.0] * 38
        base += greedy(f"t/{lang}", start)
        new += greedy(f"t/{lang}", outcomes)
    task = compare(base, new).tasks["t/c"]
    assert task.p is not None
    assert task.p < 0.05
    assert task.p_holm is not None
    assert task.p_holm > 0.05
    assert task.decision == Decision.INCONCLUSIVE


def test_ratings_do_not_enter_a_gate_on_verdicts() -> None:
    """A judge's noise of half a point must not block a checkpoint whose programs all pass."""
    base, new = greedy("t/py", [1] * 40), greedy("t/py", [1] * 40)
    base += run("mt_bench/coding", {f"{i}": [8.0] for i in range(121, 131)})
    new += run("mt_bench/coding", {f"{i}": [3.0 + i % 2] for i in range(121, 131)})
    result = compare(base, new, scales={"mt_bench": RATING_RANGE})
    assert result.decision is Decision.NO_REGRESSION
    assert result.pooled["mt_bench"].decision == Decision.REGRESSION
    assert len(result.pooled["mt_bench"].lost) == 10


@pytest.mark.parametrize(("languages", "samples", "drop"), [(6, 1, 0.0), (1, 20, 0.0), (6, 20, 0.0), (6, 1, 0.5)])
def test_interval_covers_and_the_gate_rarely_cries_wolf(languages: int, samples: int, drop: float) -> None:
    """Simulated pairs of models, problems shared by languages: coverage near 95 %, few false alarms."""
    rng = np.random.default_rng(9)
    clusters, runs = 161, 400
    names = [f"P_{c}" for c in range(clusters) for _ in range(languages)]

    def rates(size: int, random: np.random.Generator) -> list[np.ndarray]:
        level = 2 * random.normal(size=(size, 1)) + random.normal(size=(size, languages))
        apart = [random.normal(size=(size, 1)) + random.normal(size=(size, languages)) for _ in range(2)]
        return [1 / (1 + np.exp(-level - 0.7 * a + d)) for a, d in zip(apart, (0, drop), strict=True)]

    many = rates(200_000, np.random.default_rng(10))
    truth = float((many[1] - many[0]).mean()) if drop else 0.0
    covered = alarms = 0
    for _ in range(runs):
        base, new = rates(clusters, rng)
        difference = rng.binomial(samples, new) - rng.binomial(samples, base)
        test = paired_test((difference / samples).ravel(), names)
        covered += abs(test.delta - truth) <= test.bound(0.025)
        alarms += decide(test, 0.03) is Decision.REGRESSION
    # Three standard errors of a share of 400 around 95 %.
    assert 0.917 <= covered / runs <= 0.983
    assert drop or alarms / runs <= 0.05
