"""MT-Bench judgments made elsewhere: scored, written for FastChat again, and used to calibrate another judge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from codecard.judge import Judge, JudgedRow, rate
from codecard.model import UsageError, content_key
from codecard.pipeline.evaluator import Row
from codecard.pipeline.mt_bench import IDENTITY, JUDGMENTS, MtBenchOutcome, Session
from codecard.pipeline.run import RunPlan, Watcher, manifest_of
from codecard.score.rating import Calibration, calibrate
from codecard.store import Journal, RunFolder, read_journal, read_manifest, write_text
from codecard.tasks.fastchat import (
    API_ERROR,
    Answers,
    RecordedJudgment,
    Recording,
    answer_rows,
    judgment_row,
)
from codecard.tasks.mt_bench import TASK, TURNS, JudgePrompt
from codecard.tasks.paths import cache_dir


def score_recording(plan: RunPlan, session: Session, recorded: Recording, watcher: Watcher) -> MtBenchOutcome:
    """Scores from the recorded texts, never from the recorded numbers; where these differ, it is said.

    `UsageError` where a turn has no judgment (unless missing ones are allowed), or where the two turns of a
    question were judged on different first answers, for then they are not of one run.
    """
    notes: list[str] = []
    _check_whole(session, recorded)
    answers = _answers(session, recorded, notes)
    rows = [_row(session, judgment) for judgment in recorded.judgments.values()]
    differing = [
        f"{judgment.problem}/{judgment.turn}"
        for judgment, row in zip(recorded.judgments.values(), rows, strict=True)
        if judgment.score != (-1 if row["rating"] is None else row["rating"])
    ]
    if differing:
        notes.append(f"{len(differing)} recorded scores are not what the text says: {', '.join(differing)}")
    described = session.describe() | {"judge": session.describe_judge(recorded.judge, recognised=True)}
    described |= {"recipe": None, "fingerprint": None, "model": recorded.model}
    with RunFolder(plan.out, manifest_of(plan, []) | described, (*IDENTITY, "model")) as folder:
        session.take_answers(folder, answers)
        session.begin(folder, watcher)
        _append_new(folder.path / JUDGMENTS, rows)
        for row in rows:
            watcher.executed(row)
        found = session.conclude(folder, rows, recorded.judge, session.remark(recorded.judge, recognised=True))
    found.notes += notes
    return found


def _check_whole(session: Session, recorded: Recording) -> None:
    missing = [place for place in session.places if place not in recorded.judgments]
    session.failures |= dict.fromkeys(missing, "the file holds no judgment")
    if missing and not session.options.allow_missing:
        places = ", ".join(f"{name}/{turn}" for name, turn in missing)
        raise UsageError(
            f"{recorded.model}: {len(missing)} of {len(session.places)} judgments missing (question/turn {places}); "
            "--allow-missing scores the rest"
        )


def _answers(session: Session, recorded: Recording, notes: list[str]) -> Answers:
    """The answers out of the recorded prompts, so that they can be read beside their judgments."""
    found: Answers = {}
    strange = []
    for problem in session.problems:
        turns: tuple[str, ...] = ()
        for turn in TURNS:
            judgment = recorded.judgments.get((problem.id, turn))
            if judgment is None:
                break
            given = session.data.answers_in(problem, turn, judgment.user_prompt)
            if given is None:
                strange.append(f"{problem.id}/{turn}")
                break
            if turn == 2 and given[:1] != turns:
                raise UsageError(
                    f"{recorded.model}: question {problem.id}: turn 2 was judged with another first answer than "
                    "turn 1, so they are not of one run"
                )
            turns = given
        found[problem.id] = turns
    if strange:
        notes.append(f"prompts that are not FastChat's with these references: {', '.join(strange)}")
    return found


def _row(session: Session, judgment: RecordedJudgment) -> Row:
    failed = judgment.text == API_ERROR
    rating = None if failed else session.parse(judgment.text)
    reason = "the judge's endpoint failed" if failed else "no rating in the judge's text"
    outcome = JudgedRow(
        prompt=_prompt(session, judgment),
        judge=judgment.judge,
        key=content_key(asdict(judgment)),
        text=None if failed else judgment.text,
        rating=rating,
        void="" if rating is not None else reason,
    )
    return {"task": TASK} | outcome.row


def _prompt(session: Session, judgment: RecordedJudgment) -> JudgePrompt:
    return JudgePrompt(
        problem=judgment.problem,
        turn=judgment.turn,
        name=judgment.form,
        system=session.data.forms[judgment.form]["system_prompt"],
        user=judgment.user_prompt,
    )


def _append_new(path: Path, rows: Iterable[Row]) -> None:
    have = {row["key"] for row in read_journal(path)}
    journal = Journal(path)
    for row in rows:
        if row["key"] not in have:
            journal.append(row)
    journal.close()


# ---------------------------------------------------------------- for FastChat


def export_fastchat(run: Path, out: Path) -> list[Path]:
    """Write a run as FastChat keeps it: model_answer/MODEL.jsonl and model_judgment/JUDGE_single.jsonl.

    The last judgment of each question and turn by the run's judge. `UsageError` where the run has no answers
    to MT-Bench.
    """
    manifest = read_manifest(run)
    questions = [row for row in read_journal(run / "executions.jsonl") if row.get("task") == TASK and "turns" in row]
    last = {row["problem"]: row for row in questions}
    answers = {
        name: tuple(turn["answer"] for turn in row["turns"])
        for name, row in last.items()
        if all(turn["answer"] is not None for turn in row["turns"])
    }
    if not answers:
        raise UsageError(f"{run}: no answers to MT-Bench")
    recipe = manifest.get("recipe") or {}
    model = str(recipe.get("model") or manifest.get("model") or run.name).rstrip("/").rsplit("/", 1)[-1]
    now = time.time()
    written = [_write(out / "model_answer" / f"{model}.jsonl", answer_rows(model, answers, now))]
    if manifest.get("judge"):
        judge = str(manifest["judge"]["name"])
        rows = {(row["problem"], row["turn"]): row for row in read_journal(run / JUDGMENTS) if row["judge"] == judge}
        given = [_exported(row, model, now) for row in rows.values()]
        written.append(_write(out / "model_judgment" / f"{judge.rsplit('/', 1)[-1]}_single.jsonl", given))
    return written


def _exported(row: Row, model: str, now: float) -> Row:
    prompt = JudgePrompt(problem=row["problem"], turn=row["turn"], name=row["form"], system="", user=row["user_prompt"])
    return judgment_row(prompt, model=model, judge=row["judge"], text=row["judgment"], rating=row["rating"], tstamp=now)


def _write(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


# ---------------------------------------------------------------- calibration


def calibrate_judge(session: Session, rows: Iterable[RecordedJudgment], watcher: Watcher) -> Calibration:
    """Put recorded prompts to `session.judge` and compare its ratings with the recorded ones.

    What a judge has said is kept in the cache folder, so that an interrupted calibration goes on; the result
    is kept there too, and shown beside every later score of the same judge.
    """
    judge = session.judge
    assert judge is not None
    folder = _calibration(judge)
    folder.mkdir(parents=True, exist_ok=True)
    recorded = {
        (row.form, row.user_prompt): (_prompt(session, row), rating)
        for row in rows
        if row.text != API_ERROR and (rating := session.parse(row.text)) is not None
    }
    if not recorded:
        raise UsageError("no recorded rating to calibrate against")
    watcher.plan("calibrate", 0, len(recorded))
    before = list(read_journal(folder / JUDGMENTS))
    journal = Journal(folder / JUDGMENTS)
    ours: dict[tuple[str, str], float | None] = {}
    prompts = [prompt for prompt, _ in recorded.values()]
    try:
        for outcome, new in rate(judge, prompts, before, session.parse, session.options.judge_attempts):
            row = {"task": TASK} | outcome.row
            if new:
                journal.append(row)
            watcher.executed(row)
            ours[outcome.prompt.name, outcome.prompt.user] = outcome.rating
    finally:
        journal.close()
    found = calibrate((prompt.problem, theirs, ours.get(key)) for key, (prompt, theirs) in recorded.items())
    write_text(folder / "calibration.json", json.dumps(asdict(found), indent=1) + "\n")
    return found


def known_calibration(judge: Judge) -> Calibration | None:
    """The kept calibration of a judge, or None if `codecard judge calibrate` was not run for it."""
    path = _calibration(judge) / "calibration.json"
    return Calibration(**json.loads(path.read_text("utf-8"))) if path.is_file() else None


def _calibration(judge: Judge) -> Path:
    return cache_dir() / "calibration" / content_key(judge.identity)
