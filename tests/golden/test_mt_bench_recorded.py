"""MT-Bench against what was really sent to and written by GPT-4: prompts, ratings, scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codecard.answers.ratings import parse_rating, parse_rating_as_reference
from codecard.model import UsageError
from codecard.stats.rating import Rated, estimate_ratings
from codecard.suites.mt_bench.data import MtBenchData, load_data
from codecard.suites.mt_bench.fastchat import RecordedJudgment, read_answers, read_judgments, recording

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "mt_bench"


@pytest.fixture(scope="module")
def suite(folder: Path) -> MtBenchData:
    return load_data(folder)


@pytest.fixture(scope="module")
def judged(folder: Path) -> Path:
    return folder / "model_judgment" / "gpt-4_single.coding.jsonl"


@pytest.fixture(scope="module")
def failed(folder: Path) -> Path:
    return folder / "model_judgment" / "gpt-4_single.failures.coding.jsonl"


def rated(rows: list[RecordedJudgment]) -> list[Rated]:
    return [Rated(question=row.problem, turn=row.turn, rating=parse_rating(row.text)) for row in rows]


def test_prompts_equal_those_gpt4_was_sent(suite: MtBenchData, folder: Path, judged: Path) -> None:
    """A judge prompt that is one byte off measures something else. Built from the answer files alone."""
    rows = read_judgments(judged, suite)
    checked = 0
    for path in sorted((folder / "model_answer").glob("*.jsonl")):
        model, answers = read_answers(path, suite)
        own = [row for row in rows if row.model == model]
        # One model was judged twice under one name; its answer file belongs to the later run.
        for row in own[-20:]:
            prompt = suite.judge_prompt(suite.problem(row.problem), answers[row.problem], row.turn)
            assert (prompt.user, prompt.name) == (row.user_prompt, row.form)
            checked += 1
    assert checked == 80


def test_answers_come_back_out_of_recorded_prompts(suite: MtBenchData, judged: Path, failed: Path) -> None:
    """A recorded judgment must be readable beside its answers, though no answer file came with it."""
    for row in [*read_judgments(judged, suite), *read_judgments(failed, suite)]:
        problem = suite.problem(row.problem)
        answers = suite.answers_in(problem, row.turn, row.user_prompt)
        assert answers is not None
        assert suite.judge_prompt(problem, answers, row.turn).user == row.user_prompt
    assert suite.answers_in(problem, row.turn, row.user_prompt + " ") is None


def test_ratings_are_read_from_the_texts_as_recorded(suite: MtBenchData, judged: Path) -> None:
    """A parser that differs from the reference on any real judgment moves a score."""
    rows = read_judgments(judged, suite)
    assert len(rows) == 100
    assert [parse_rating(row.text) for row in rows] == [row.score for row in rows]
    assert [parse_rating_as_reference(row.text) for row in rows] == [row.score for row in rows]


def test_reference_parser_reads_code_as_ratings_and_ours_does_not(suite: MtBenchData, failed: Path) -> None:
    """`arr[0]` in a judgment is a rating of 0 to the reference; the strict rule sees no rating there."""
    rows = read_judgments(failed, suite)
    reference = [parse_rating_as_reference(row.text) for row in rows]
    assert [-1 if rating is None else rating for rating in reference] == [row.score for row in rows]
    assert reference.count(0) == 2
    assert sum(parse_rating(row.text) is not None for row in rows) == 1


@pytest.mark.parametrize(
    ("model", "score"), [("mistral-orpo-trl", 5.75), ("mistral-orpo-capybara", 3.95), ("mistral-orpo-mix", 3.25)]
)
def test_recorded_models_get_their_published_coding_scores(
    suite: MtBenchData, judged: Path, model: str, score: float
) -> None:
    """The published scores, from the judgments' texts alone."""
    chosen = recording(read_judgments(judged, suite), judged, model)
    estimates = estimate_ratings(rated(list(chosen.judgments.values())))
    assert estimates["score"].value == score
    assert estimates["score"].n == 10
    assert estimates["score"].void == 0
    turns = [estimates[f"turn_{turn}"].value for turn in (1, 2)]
    assert sum(value or 0 for value in turns) / 2 == pytest.approx(score)
    # The clustered error of ten models' coding scores lies between .74 and .96; a naive one is smaller.
    low, high = estimates["score"].low, estimates["score"].high
    assert low is not None
    assert high is not None
    assert 0.74 <= (high - low) / 2 / 2.262 <= 0.96


def test_two_runs_under_one_name_are_never_averaged(suite: MtBenchData, judged: Path) -> None:
    """`mistral-orpo` was judged twice; FastChat's mean over both is the score of neither."""
    rows = read_judgments(judged, suite)
    with pytest.raises(UsageError, match="recorded 2 times under one name"):
        recording(rows, judged, "mistral-orpo")
    scores = []
    for run in (1, 2):
        chosen = recording(rows, judged, f"mistral-orpo#{run}")
        assert len(chosen.judgments) == 20
        scores.append(estimate_ratings(rated(list(chosen.judgments.values())))["score"].value)
    assert scores == [3.45, 3.85]


def test_several_models_and_no_name_is_refused_with_the_list(suite: MtBenchData, judged: Path) -> None:
    """Four models are never pooled into one score."""
    with pytest.raises(UsageError, match="mistral-orpo-mix, mistral-orpo, mistral-orpo-capybara, mistral-orpo-trl"):
        recording(read_judgments(judged, suite), judged)


def test_failures_are_counted_and_refuse_the_score(suite: MtBenchData, failed: Path) -> None:
    """Where most judgments failed, the mean of the few that did not is no score."""
    rows = rated(read_judgments(failed, suite))
    refused = estimate_ratings(rows)["score"]
    assert (refused.value, refused.low, refused.high, refused.void) == (None, None, None, 19)
    allowed = estimate_ratings(rows, allow_missing=True)["score"]
    assert (allowed.value, allowed.void) == (5.0, 19)
    assert "19 of 20 missing" in allowed.method


def edited(judged: Path, tmp_path: Path, change: str) -> Path:
    """The recording of one model, with one fault."""
    rows = [json.loads(line) for line in judged.read_text().splitlines()]
    rows = [row for row in rows if row["model"] == "mistral-orpo-trl"]
    if change == "duplicate":
        rows.append(rows[3])
    elif change == "outside":
        rows[3]["question_id"] = 999
    elif change == "form":
        rows[3]["judge"] = ["gpt-4", "single-v1"]
    elif change == "judge":
        rows[3]["judge"] = "gpt-4"
    elif change == "key":
        del rows[3]["judgment"]
    elif change == "turn":
        rows[3]["turn"] = 3
    elif change == "judges":
        rows[3]["judge"][0] = "gpt-4-turbo"
    elif change == "score":
        rows[3]["score"] = "8"
    path = tmp_path / "judgments.jsonl"
    lines = [json.dumps(row) for row in rows]
    if change == "json":
        lines[3] = lines[3][:50]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("duplicate", r"question \d+ turn \d is judged 2 times \(lines 4, 21\)"),
        ("outside", ":4: question 999 is not in MT-Bench"),
        ("form", ":4: unknown judge form 'single-v1'"),
        ("judge", ":4: unknown judge 'gpt-4'"),
        ("key", ":4: no field 'judgment'"),
        ("turn", ":4: turn 3; expected 1 or 2"),
        ("judges", "judgments of 2 judges; name one with --judge: gpt-4, gpt-4-turbo"),
        ("score", ":4: score '8' is not a number"),
        ("json", ":4: not JSON"),
    ],
)
def test_bad_judgment_file_is_one_clear_line(
    suite: MtBenchData, judged: Path, tmp_path: Path, change: str, words: str
) -> None:
    """Each fault of a file is told with its line, and nothing is scored."""
    path = edited(judged, tmp_path, change)
    with pytest.raises(UsageError, match=words) as caught:
        recording(read_judgments(path, suite), path)
    assert "\n" not in str(caught.value)


def test_changed_benchmark_file_is_refused(folder: Path, tmp_path: Path) -> None:
    """An edited question or reference gives another benchmark under the same name."""
    for path in folder.rglob("*.jsonl"):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "reference_answer" / "gpt-4.jsonl").write_bytes(b"{}\n")
    with pytest.raises(UsageError, match="not the pinned file"):
        load_data(tmp_path)
