"""Ratings out of texts, their mean, a judge's calibration, and a journal that is not paid twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecard.answers.ratings import parse_rating
from codecard.stats.rating import Rated, calibrate, estimate_ratings
from codecard.suites.mt_bench.data import JudgePrompt, clean_answer
from codecard.suites.mt_bench.journal import rate
from codecard.suites.mt_bench.judge import Judge, Reply


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[5]]", 5),
        ("Rating: [[7.5]]", 7.5),
        ("[[ 8 ]]", 8),
        ("[[8/10]]", 8),
        ("[[ 8 / 10 ]]", 8),
        ("**Rating:** **[[6]]**", 6),
        ("Rating[[6]]", 6),
        ("first [[3]], then [[9]]", 3),
        ("```python\nx = [[1], [2]]\ny = [[4]]\n```\nRating: [[9]]", 9),
        ("```\nRating: [[2]]\n```", 2),
        ("10 is the best: [[10]]", 10),
    ],
)
def test_ratings_are_read_in_every_form_that_judges_write(text: str, rating: float) -> None:
    """A rating lost to a blank or to `/10` voids the whole category."""
    assert parse_rating(text) == rating


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arr[0] is read twice",
        "Rating: [5]",
        "rows[[1]] fails",
        "np.array([[5]]) is wrong",
        "f()[[2]]",
        "[[0]]",
        "[[11]]",
        "[[100/10]]",
        "[[rating]]",
        "[[-3]]",
        "[[5, 6]]",
        "[[[5]]]",
        "```\na = [[3]]\n```",
        "$ERROR$",
    ],
)
def test_code_and_noise_are_no_rating(text: str) -> None:
    """`nums[0]` in a judgment is no rating of 0."""
    assert parse_rating(text) is None


@given(st.text(alphabet="[]0123456789./ rating:`\n", max_size=60))
def test_no_text_gives_a_rating_off_the_scale(text: str) -> None:
    """Whatever a judge writes, a rating is 1 to 10 or there is none."""
    rating = parse_rating(text)
    assert rating is None or 1 <= rating <= 10


def rated(values: dict[str, tuple[float | None, float | None]]) -> list[Rated]:
    return [
        Rated(question=name, turn=turn, rating=value, void="" if value else "lost")
        for name, pair in values.items()
        for turn, value in enumerate(pair, 1)
    ]


def test_one_missing_rating_refuses_the_score_and_its_turn_only() -> None:
    """Dropping failed judgments unseen raises the mean of the rest."""
    estimates = estimate_ratings(rated({"1": (4, 2), "2": (8, None), "3": (6, 5)}), judge="judge x")
    assert estimates["score"].value is None
    assert estimates["score"].void == 1
    assert "1 of 6 ratings missing by judge x" in estimates["score"].method
    assert estimates["turn_1"].value == 6
    assert estimates["turn_2"].value is None


def test_allowed_missing_ratings_leave_the_mean_of_all_others() -> None:
    """With the flag the mean is the reference's: over ratings, not over questions."""
    estimate = estimate_ratings(rated({"1": (4, 2), "2": (9, None)}), allow_missing=True)["score"]
    assert estimate.value == 5
    assert (estimate.n, estimate.void) == (2, 1)


def test_interval_is_that_of_the_questions_not_of_the_ratings() -> None:
    """Twenty ratings of ten dialogues are ten observations: counted as twenty, the interval is too narrow."""
    twice = estimate_ratings(rated({str(i): (float(1 + i % 9), float(1 + i % 9)) for i in range(10)}))
    assert twice["score"].low == pytest.approx(twice["turn_1"].low)
    assert twice["score"].high == pytest.approx(twice["turn_1"].high)


def test_interval_stays_on_the_scale() -> None:
    estimate = estimate_ratings(rated({"1": (1, 1), "2": (10, 10)}))["score"]
    assert (estimate.low, estimate.high) == (1, 10)
    below = estimate_ratings([Rated(question=q, turn=1, rating=r) for q, r in (("1", 0), ("2", 0), ("3", 1))])["score"]
    assert below.low is not None
    assert below.value is not None
    assert below.low <= below.value


def test_calibration_counts_what_a_judge_left_unrated() -> None:
    """A judge that fails on the hard answers looks unbiased on the rest."""
    found = calibrate([("1", 5, 6), ("1", 5, 5), ("2", 3, 5), ("2", 3, None)])
    assert (found.n, found.missing) == (3, 1)
    assert found.bias == pytest.approx(1)
    assert found.exact == pytest.approx(1 / 3)
    assert found.within_one == pytest.approx(2 / 3)
    assert found.low is not None
    assert found.low < 1
    assert "1 not rated" in found.line
    assert calibrate([("1", 5, None)]).bias is None


def test_answer_ends_at_the_template_mark() -> None:
    """`<|im_end|>` left in an answer would be shown to the judge and to the second turn."""
    assert clean_answer(" yes <|im_end|>\n<|im_start|>user", ("<|im_end|>", "<|endoftext|>")) == "yes"
    assert clean_answer("plain ", ()) == "plain"


# ---------------------------------------------------------------- the journal


class Scripted(Judge):
    """A judge that gives each prompt its texts in turn, None for a failed request."""

    name = "scripted"
    recognised = False

    def __init__(self, texts: dict[str, list[str | None]], **identity: Any) -> None:
        self.identity = identity
        self.texts = texts
        self.asked: list[str] = []

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        for prompt in list(prompts):
            self.asked.append(prompt.problem)
            text = self.texts[prompt.problem].pop(0)
            yield Reply(prompt=prompt, text=text, failure="" if text is not None else "HTTP 500")


def prompt(problem: str) -> JudgePrompt:
    return JudgePrompt(problem=problem, turn=1, name="form", system="s", user=f"rate {problem}")


def run(judge: Scripted, problems: str, journal: list[dict[str, Any]], attempts: int = 1) -> dict[str, Any]:
    """One judging, as far as it gets; the journal grows as a file would."""
    last: dict[str, Any] = {}
    for row, new in rate(judge, [prompt(p) for p in problems], list(journal), parse_rating, attempts):
        if new:
            journal.append(row)
        last[row["problem"]] = row
    return last


def test_interrupted_judging_pays_no_prompt_twice() -> None:
    """Killed after two of four judgments, the next run asks for the other two."""
    journal: list[dict[str, Any]] = []
    first = Scripted({"a": ["[[5]]"], "b": ["[[6]]"]})
    run(first, "ab", journal)
    second = Scripted({"c": ["[[7]]"], "d": ["[[8]]"]})
    found = run(second, "abcd", journal)
    assert second.asked == ["c", "d"]
    assert {name: row["rating"] for name, row in found.items()} == {"a": 5, "b": 6, "c": 7, "d": 8}
    third = Scripted({})
    assert run(third, "abcd", journal).keys() == {"a", "b", "c", "d"}


def test_failed_request_is_asked_again_and_a_text_without_rating_is_not() -> None:
    """A server's failure is no judgment; a judge's silence is, and each further try is paid for."""
    journal: list[dict[str, Any]] = []
    found = run(Scripted({"a": [None], "b": ["no idea"]}), "ab", journal)
    assert found["a"]["void"] == "HTTP 500"
    assert found["b"]["void"] == "no rating in the judge's text"
    again = Scripted({"a": ["[[4]]"]})
    found = run(again, "ab", journal)
    assert again.asked == ["a"]
    assert found["a"]["rating"] == 4
    more = Scripted({"b": ["still none", "[[3]]"]})
    found = run(more, "b", journal, attempts=3)
    assert more.asked == ["b", "b"]
    assert found["b"]["rating"] == 3
    assert run(Scripted({}), "b", journal, attempts=3)["b"]["rating"] == 3


def test_another_judge_or_setting_never_takes_a_cached_text() -> None:
    """A cache keyed by the prompt alone would give one judge's ratings to another."""
    journal: list[dict[str, Any]] = []
    run(Scripted({"a": ["[[5]]"]}, model="x", temperature=0), "a", journal)
    other = Scripted({"a": ["[[9]]"]}, model="x", temperature=1)
    assert run(other, "a", journal)["a"]["rating"] == 9
