"""MT-Bench from the command line: answers, judgments and scores, with everything around it failing."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from codecard.cli import main
from codecard.report.embed import embed
from codecard.report.html import render_run
from codecard.runs.measured import read_measurements
from codecard.runs.reading import read_run
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.mt_bench.suite import MtBenchSession
from codecard.suites.suite import Setting
from servers import Behaviour, Body, Handler, cut, endless, first_fails, raw, reply, serving, status

pytestmark = pytest.mark.data

Command = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_dir: Path) -> Iterator[None]:
    """A key, a cache of its own, and back-off without pauses."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key")
    monkeypatch.setenv("CODECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CODECARD_DATA", str(data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def codecard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Exit code and everything printed."""

    def call(*argv: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["codecard", *map(str, argv)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out + printed.err

    return call


@pytest.fixture
def recorded(data_dir: Path) -> Path:
    return data_dir / "mt_bench" / "model_judgment" / "gpt-4_single.coding.jsonl"


def scores(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "scores.json").read_text())["mt_bench/coding"]
    return found


def judge_of(run: Path) -> dict[str, Any]:
    """The judge as the manifest keeps it."""
    found: dict[str, Any] = json.loads((run / "manifest.json").read_text())["facts"]["mt_bench"]["comparable"]["judge"]
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def both(answer: Behaviour, judgment: Behaviour) -> Behaviour:
    """One server for both parts: a judge's prompt has a system message."""

    def behave(handler: Handler, body: Body) -> None:
        judging = body["messages"][0]["role"] == "system"
        (judgment if judging else answer)(handler, body)

    return behave


def run(codecard: Command, url: str, out: Path, *more: object) -> tuple[int, str]:
    judge = ("--judge", "openai:j", "--judge-base-url", url)
    return codecard(
        "run", "--model", "openai:m", "--base-url", url, "--suite", "mt_bench", *judge, "--out", out, *more
    )  # fmt: skip


def test_second_turn_holds_the_first_answer_and_all_are_judged(codecard: Command, tmp_path: Path) -> None:
    """A second turn asked without the first answer is another question."""
    with serving(both(reply(" use sorted() <|im_end|> trailing"), reply("Good. Rating: [[7]]"))) as server:
        code, printed = run(codecard, server.url, tmp_path / "run")
        asked = [body for body in server.bodies if body["model"] == "m"]
        judged = [body for body in server.bodies if body["model"] == "j"]
    assert code == 0
    assert scores(tmp_path / "run")["score"]["value"] == 7
    assert "judge j; not comparable with the card" in printed
    assert [len(body["messages"]) for body in asked] == [1] * 10 + [3] * 10
    assert {body["messages"][1]["content"] for body in asked[10:]} == {"use sorted()"}
    assert {(body["temperature"], body["max_tokens"]) for body in asked} == {(0.0, 1024)}
    assert {(body["temperature"], body["max_tokens"]) for body in judged} == {(0.0, 2048)}
    assert len(judged) == 20
    assert sum("### Assistant A:\nuse sorted()\n\n### User:" in body["messages"][1]["content"] for body in judged) == 10
    comparable = read_run(tmp_path / "run")
    assert [score.value for score in comparable.samples] == [7.0] * 10


FAULTS = {
    "429": status(429, retry_after="0"),
    "500": status(500),
    "cut": cut,
    "malformed": raw(b'{"choices": [{"mess'),
    "endless": endless,
}


@pytest.mark.parametrize("name", FAULTS)
def test_failing_judge_costs_retries_then_voids(codecard: Command, tmp_path: Path, name: str) -> None:
    """A judge's server that fails must never lower, raise or make a score; when it recovers, only it is asked."""
    out = tmp_path / "run"
    with serving(both(reply("answer"), FAULTS[name])) as server:
        code, printed = run(codecard, server.url, out, "--limit", 2)
        assert code == 3
        assert len(server.log) == 4 + 4 * 3
    assert scores(out)["score"]["value"] is None
    assert scores(out)["score"]["void"] == 4
    assert "4 of 4 ratings missing" in printed
    with serving(both(status(500), reply("Rating: [[6]]"))) as server:
        code, _ = run(codecard, server.url, out, "--limit", 2)
        assert len(server.log) == 4
    assert code == 0
    assert scores(out)["score"]["value"] == 6


@pytest.mark.parametrize("name", FAULTS)
def test_passing_fault_changes_no_score(codecard: Command, tmp_path: Path, name: str) -> None:
    """Each request fails once, answers and judgments alike."""
    with serving(first_fails(FAULTS[name], 1, both(reply("answer"), reply("[[3]]")))) as server:
        code, _ = run(codecard, server.url, tmp_path / "run", "--limit", 2)
        assert len(server.log) == 16
    assert code == 0
    assert scores(tmp_path / "run")["score"] | {"method": ""} == {
        "value": 3, "low": 3, "high": 3, "n": 2, "void": 0, "method": "",
    }  # fmt: skip


def test_failing_answers_are_void_and_not_judged(codecard: Command, tmp_path: Path) -> None:
    """An answer that never came would be judged as an empty one, and rated 1."""

    def second_turn_fails(handler: Handler, body: Body) -> None:
        (status(500) if len(body["messages"]) == 3 else reply("one"))(handler, body)

    with serving(both(second_turn_fails, reply("[[9]]"))) as server:
        code, printed = run(codecard, server.url, tmp_path / "run", "--limit", 2)
        assert sum(body["model"] == "j" for body in server.bodies) == 2
    assert code == 3
    found = scores(tmp_path / "run")
    assert (found["turn_1"]["value"], found["turn_2"]["value"], found["score"]["value"]) == (9, None, None)
    assert "turn 2 not answered: HTTP 500" in printed
    with serving(status(500)) as server:
        code, _ = run(codecard, server.url, tmp_path / "run", "--limit", 2, "--allow-missing")
    assert code == 0
    assert (scores(tmp_path / "run")["score"]["value"], scores(tmp_path / "run")["score"]["void"]) == (9, 2)


def test_missing_key_is_told_before_anything_is_asked(
    codecard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the answers are generated for an hour before the judge's key is missed."""
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(reply("x")) as server:
        code, printed = codecard(
            "run", "--model", "openai:m", "--base-url", server.url, "--suite", "mt_bench",
            "--judge", "openai:gpt-4-0613", "--out", tmp_path / "run",
        )  # fmt: skip
        assert server.log == []
    assert (code, printed.count("\n")) == (2, 1)
    assert "OPENAI_API_KEY" in printed
    assert not (tmp_path / "run").exists()


def test_answers_made_without_a_judge_can_be_judged_later(codecard: Command, tmp_path: Path) -> None:
    """A run without a judge has no score, and needs no second generation to get one."""
    out = tmp_path / "run"
    with serving(both(reply("a"), reply("[[2]]"))) as server:
        code, printed = codecard(
            "run", "--model", "openai:m", "--base-url", server.url, "--suite", "mt_bench", "--out", out, "--limit", 2
        )
        assert code == 0
        assert scores(out)["score"]["value"] is None
        assert "no judge was named" in printed
        code, _ = run(codecard, server.url, out, "--limit", 2)
        assert len(server.log) == 8
    assert code == 0
    assert scores(out)["score"]["value"] == 2


def test_a_name_at_another_endpoint_is_not_the_reported_judge(codecard: Command, tmp_path: Path) -> None:
    """Any server can call its model gpt-4-0613."""
    with serving(both(reply("a"), reply("[[2]]"))) as server:
        judge = ("--judge", "openai:gpt-4-0613", "--judge-base-url", server.url)
        model = ("--model", "openai:m", "--base-url", server.url)
        code, printed = codecard("run", *model, "--suite", "mt_bench", *judge, "--out", tmp_path / "run")
    assert code == 0
    assert "gpt-4-0613 at another endpoint than its maker's; not comparable with the card" in printed
    assert "not comparable" in read_run(tmp_path / "run").manifest.facts_of("mt_bench")["remark"]


# ---------------------------------------------------------------- recorded files


def test_recorded_judgments_scored_again_give_the_same_score(codecard: Command, recorded: Path, tmp_path: Path) -> None:
    """The same file into the same folder gives the same score and no second copy of anything."""
    out = tmp_path / "run"
    for _ in range(2):
        code, printed = codecard(
            "score", recorded, "--suite", "mt_bench", "--set", "mt_bench.judged_model=mistral-orpo-trl", "--out", out
        )
        assert code == 0
        assert "not comparable" not in printed
        assert scores(out)["score"]["value"] == 5.75
        assert len(rows(out / "judgments.jsonl")) == len(rows(out / "completions.jsonl")) == 20
    code, printed = codecard(
        "score", recorded, "--suite", "mt_bench", "--set", "mt_bench.judged_model=mistral-orpo-mix", "--out", out
    )
    assert code == 2
    assert "choose another --out" in printed
    assert scores(out)["score"]["value"] == 5.75


@pytest.mark.parametrize(
    ("file", "options"), [("recorded", ()), ("answers", ("--judge",))], ids=["a judgment file", "a judge named"]
)
def test_a_score_names_the_judge_that_rated_it(
    codecard: Command, data_dir: Path, recorded: Path, tmp_path: Path, file: str, options: tuple[str, ...]
) -> None:
    """A card's cell is judged against the same judge alone; under another's name, or none, it would not be."""
    model = "mistral-orpo-capybara"
    given = recorded if file == "recorded" else data_dir / "mt_bench" / "model_answer" / f"{model}.jsonl"
    judge = (*options, f"replay:{recorded}") if options else ("--set", f"mt_bench.judged_model={model}")
    code, printed = codecard("score", given, "--suite", "mt_bench", *judge, "--out", tmp_path / "run")
    assert code == 0
    assert "judge gpt-4" in printed
    measured = read_measurements([tmp_path / "run"])
    assert {found.judge for found in measured} == {"gpt-4"}


def test_recorded_answers_get_their_score_from_the_recorded_judge(
    codecard: Command, data_dir: Path, recorded: Path, tmp_path: Path
) -> None:
    """From answers to score by way of our own prompts: one byte off, and the recording holds nothing for it."""
    answers = data_dir / "mt_bench" / "model_answer" / "mistral-orpo-capybara.jsonl"
    judge = ("--judge", f"replay:{recorded}")
    code, _ = codecard("score", answers, "--suite", "mt_bench", *judge, "--out", tmp_path / "run")
    assert code == 0
    assert scores(tmp_path / "run")["score"]["value"] == 3.95


def test_fastchat_files_go_out_and_come_back(codecard: Command, recorded: Path, tmp_path: Path, data_dir: Path) -> None:
    """A FastChat user moves in, and out again, without a number changing."""
    codecard(
        "score",
        recorded,
        "--suite",
        "mt_bench",
        "--set",
        "mt_bench.judged_model=mistral-orpo-trl",
        "--out",
        tmp_path / "run",
    )
    code, printed = codecard("judge", "export", tmp_path / "run", "--out", tmp_path / "fastchat")
    assert code == 0
    assert printed.count("\n") == 2
    judgments = tmp_path / "fastchat" / "model_judgment" / "gpt-4_single.jsonl"
    answers = tmp_path / "fastchat" / "model_answer" / "mistral-orpo-trl.jsonl"
    theirs = {(r["question_id"], r["turn"]): r for r in rows(recorded) if r["model"] == "mistral-orpo-trl"}
    ours = {(row["question_id"], row["turn"]): row for row in rows(judgments)}
    assert {place: row | {"tstamp": 0} for place, row in ours.items()} == {
        place: row | {"tstamp": 0} for place, row in theirs.items()
    }
    original = {r["question_id"]: r for r in rows(data_dir / "mt_bench" / "model_answer" / answers.name)}
    assert {r["question_id"]: r["choices"] for r in rows(answers)} == {
        number: row["choices"] for number, row in original.items()
    }
    codecard("score", judgments, "--suite", "mt_bench", "--out", tmp_path / "again")
    assert scores(tmp_path / "again") == scores(tmp_path / "run")


def test_failures_refuse_the_score_and_say_how_many(codecard: Command, data_dir: Path, tmp_path: Path) -> None:
    """19 of 20 judgments failed; the mean of the one that is left is no score."""
    failed = data_dir / "mt_bench" / "model_judgment" / "gpt-4_single.failures.coding.jsonl"
    code, printed = codecard("score", failed, "--suite", "mt_bench", "--out", tmp_path / "run")
    assert code == 3
    assert "19 of 20 ratings missing, no score" in printed
    assert scores(tmp_path / "run")["score"]["value"] is None
    assert read_run(tmp_path / "run").estimates["mt_bench/coding"]["score"].value is None
    code, printed = codecard("score", failed, "--suite", "mt_bench", "--allow-missing", "--out", tmp_path / "allowed")
    assert code == 0
    assert "19 of 20 ratings missing, scored without them" in printed
    code, printed = codecard("score", failed, "--suite", "mt_bench", "--fastchat-regex", "--out", tmp_path / "theirs")
    assert code == 3
    assert "16 of 20 ratings missing" in printed


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["FILE", "--suite", "mt_bench"], "judgments of 4 models; name one with --set mt_bench.judged_model="),
        (["FILE", "--suite", "mt_bench", "--set", "mt_bench.judged_model=gpt-5"], "unknown model 'gpt-5'"),
        (
            ["FILE", "--suite", "mt_bench", "--set", "mt_bench.judged_model=mistral-orpo"],
            "recorded 2 times under one name",
        ),
        (
            ["FILE", "--suite", "mt_bench", "--set", "mt_bench.judged_model=mistral-orpo-trl", "--judge", "x"],
            "unknown judge 'x'",
        ),
        (["FILE", "FILE", "--suite", "mt_bench"], "one file at a time"),
        (["ANSWERS", "--suite", "mt_bench"], "name a judge"),
        (["ANSWERS", "--suite", "mt_bench", "--judge", "gpt-4-0613"], "did you mean openai:gpt-4-0613?"),
        (["ANSWERS", "--suite", "mt_bench", "--judge", "replay:/nowhere"], "cannot read /nowhere"),
        (["ANSWERS", "--suite", "mt_bench", "--judge", "embedded", "--judge-base-url", "http://h/v1"], "belongs to"),
        (["EMPTY", "--suite", "mt_bench"], "an empty file"),
        (["MISSING", "--suite", "mt_bench"], "1 of 20 judgments missing (question/turn 126/2)"),
    ],
)
def test_bad_input_is_one_line_and_no_run_folder(
    codecard: Command, recorded: Path, data_dir: Path, tmp_path: Path, argv: list[str], words: str
) -> None:
    """What cannot be scored leaves nothing behind that looks like a score."""
    (tmp_path / "empty").write_text("")
    own = [r for r in rows(recorded) if r["model"] == "mistral-orpo-trl" and (r["question_id"], r["turn"]) != (126, 2)]
    (tmp_path / "missing").write_text("".join(json.dumps(row) + "\n" for row in own))
    names = {
        "FILE": recorded,
        "ANSWERS": data_dir / "mt_bench" / "model_answer" / "mistral-orpo-trl.jsonl",
        "EMPTY": tmp_path / "empty",
        "MISSING": tmp_path / "missing",
    }
    code, printed = codecard("score", *(names.get(word, word) for word in argv), "--out", tmp_path / "run")
    assert code == 2
    assert words in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_turns_of_two_runs_are_not_mixed(codecard: Command, recorded: Path, tmp_path: Path) -> None:
    """Two files joined by hand: first turns of one run, second turns of another."""
    own = [row for row in rows(recorded) if row["model"] == "mistral-orpo"]
    mixed = [row for row in own[:20] if row["turn"] == 1] + [row for row in own[20:] if row["turn"] == 2]
    (tmp_path / "mixed").write_text("".join(json.dumps(row) + "\n" for row in mixed))
    code, printed = codecard("score", tmp_path / "mixed", "--suite", "mt_bench", "--out", tmp_path / "run")
    assert code == 2
    assert "turn 2 was judged with another first answer than turn 1" in printed


def test_calibration_is_kept_and_shown_beside_later_scores(codecard: Command, recorded: Path, tmp_path: Path) -> None:
    """A score by another judge is worth what its agreement with the reported one is."""

    def harsh(handler: Handler, body: Body) -> None:
        reply("Rating: [[1]]")(handler, body)

    with serving(both(reply("a"), harsh)) as server:
        judge = ("--judge", "openai:j", "--judge-base-url", server.url)
        code, printed = codecard("judge", "calibrate", recorded, *judge)
        assert code == 0
        asked = len(server.log)
        assert asked == len({json.dumps(body) for body in server.bodies})
        codecard("judge", "calibrate", recorded, *judge)
        assert len(server.log) == asked
        line = next(line for line in printed.splitlines() if "calibration on" in line)
        assert "bias -" in line
        _, printed = run(codecard, server.url, tmp_path / "run")
        assert line in printed
        assert "calibration on" in (tmp_path / "run" / "tables.md").read_text()
    code, printed = codecard("judge", "calibrate", recorded, "--judge", f"replay:{recorded}")
    assert "same rating 100%, within one point 100%, bias +0.00 [+0.00, +0.00]" in printed


def test_hostile_answer_stays_text_in_the_report(codecard: Command, tmp_path: Path) -> None:
    """A model that writes a script must not have it run in the reader's browser."""
    script = "<script>alert(1)</script><!-- </script> -->"
    with serving(both(reply(script), reply(f"{script} Rating: [[4]]"))) as server:
        run(codecard, server.url, tmp_path / "run", "--limit", 1)
    data = read_run(tmp_path / "run")
    assert "alert(1)" not in render_run(data)
    block = json.loads(gzip.decompress(base64.b64decode(embed([data]).blocks[0])))
    first, second = block[0]["sides"][0][0]["turns"]
    for turn in (first, second):  # what the page shows as text nodes, side by side
        assert (turn["answer"], turn["judgment"], turn["rating"]) == (script, f"{script} Rating: [[4]]", 4)
    assert second["question"].startswith("Can you parallelize it?")
    assert script not in (tmp_path / "run" / "tables.md").read_text()


def test_corrected_references_are_another_benchmark(codecard: Command, data_dir: Path, tmp_path: Path) -> None:
    """A judge that is shown other reference answers rates otherwise; the score says so."""
    published = data_dir / "mt_bench" / "reference_answer" / "gpt-4.jsonl"
    changed = tmp_path / "corrected.jsonl"
    changed.write_text(published.read_text().replace("Counter", "Tally"))
    with serving(both(reply("a"), reply("[[4]]"))) as server:
        code, _ = run(codecard, server.url, tmp_path / "run", "--references", changed)
        prompts = [body["messages"][1]["content"] for body in server.bodies if body["model"] == "j"]
    assert code == 0
    assert any("Tally" in prompt for prompt in prompts)
    assert judge_of(tmp_path / "run")["references"] == "corrected"


def test_session_without_judge_names_the_reported_one(data_dir: Path) -> None:
    """The definition knows which judge the published number is by."""
    suite = find_suite("mt_bench")
    profile = load_profile("card-2024-03")
    session = suite.open(Setting(profile=profile, data_dir=data_dir), suite.configured(profile))
    assert isinstance(session, MtBenchSession)
    assert session.remark("gpt-4-0613", recognised=True) == ""
    assert "not comparable" in session.remark("gpt-4-turbo", recognised=True)
