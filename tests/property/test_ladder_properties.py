"""The ladder on random cells: further away is never better, and noise never makes a number close."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from codecard.stats import reproduction as ladder
from codecard.stats.reproduction import Ours, Outcome, Rung, Settings, Target

ORDER = [Rung.EXACT, Rung.CONSISTENT, Rung.CLOSE, Rung.NOT_REPRODUCED]
cents = st.integers(5, 95)
samples = st.sampled_from([1, 10, 20, 50, 200])
spreads = st.floats(0, 0.25 / 161)


def judged(cent: int, value: float, count: int, spread: float) -> Outcome:
    published = Target(value=cent / 100, low=(cent - 0.5) / 100, high=(cent + 0.5) / 100, digits=f"{cent / 100:.2f}")
    mine = Ours(value=value, digits=f"{value:.2f}", n=161, samples=count, variance_at_one=spread)
    return ladder.pass_rates([(published, mine)], Settings()).cells[0]


@settings(deadline=None)  # the first one imports scipy
@given(cents, st.floats(0, 0.2), st.floats(0, 0.2), st.sampled_from([-1, 1]), samples, spreads)
def test_a_value_further_away_is_never_judged_better(
    cent: int, near: float, far: float, side: int, count: int, spread: float
) -> None:
    near, far = sorted((near, far))
    first = judged(cent, cent / 100 + side * near, count, spread)
    second = judged(cent, cent / 100 + side * far, count, spread)
    assert ORDER.index(first.rung) <= ORDER.index(second.rung)


@settings(deadline=None)  # the first one imports scipy
@given(cents, st.floats(0, 1), samples, spreads)
def test_exact_means_the_same_text(cent: int, value: float, count: int, spread: float) -> None:
    outcome = judged(cent, value, count, spread)
    assert (outcome.rung is Rung.EXACT) == (f"{value:.2f}" == f"{cent / 100:.2f}")


@settings(deadline=None)  # the first one imports scipy
@given(cents, st.floats(0, 1), samples, spreads)
def test_close_is_within_the_margin_with_room_for_the_error(cent: int, value: float, count: int, spread: float) -> None:
    outcome = judged(cent, value, count, spread)
    if outcome.rung is Rung.CLOSE:
        assert outcome.se is not None
        assert abs(value - cent / 100) + 1.64 * outcome.se <= 0.03


@settings(deadline=None)  # the first one imports scipy
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_counts_are_judged_by_their_difference_alone(case: tuple[int, int, int]) -> None:
    questions, published, mine = case
    expected = {0: Rung.EXACT, 1: Rung.CLOSE}.get(abs(mine - published), Rung.NOT_REPRODUCED)
    assert ladder.counts(published, mine, questions, Settings()).rung is expected


@settings(deadline=None)  # the first one imports scipy
@given(st.lists(st.tuples(cents, st.floats(0, 1)), min_size=1, max_size=6), samples, spreads)
def test_more_cells_never_make_one_cell_worse(cells: list[tuple[int, float]], count: int, spread: float) -> None:
    """Holm corrects for the row: what is within noise alone is within noise in company."""
    pairs = []
    for cent, value in cells:
        published = Target(
            value=cent / 100, low=(cent - 0.5) / 100, high=(cent + 0.5) / 100, digits=f"{cent / 100:.2f}"
        )
        pairs.append((published, Ours(value=value, digits="", n=161, samples=count, variance_at_one=spread)))
    row = ladder.pass_rates(pairs, Settings()).cells
    for pair, outcome in zip(pairs, row, strict=True):
        alone = ladder.pass_rates([pair], Settings()).cells[0]
        if alone.rung is Rung.CONSISTENT:
            assert outcome.rung is Rung.CONSISTENT
