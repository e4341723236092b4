"""What a judge's ratings are worth: put to prompts that another judge has rated; and a run as FastChat keeps it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from codecard.answers.ratings import parse_rating, parse_rating_as_reference
from codecard.files import Row, make_dir, write_lines, write_text
from codecard.journal import Journal, read_journal
from codecard.model import UsageError, content_key
from codecard.paths import cache_dir
from codecard.stats.rating import Calibration, calibrate
from codecard.suites.mt_bench.data import TASK, JudgePrompt, MtBenchData
from codecard.suites.mt_bench.fastchat import API_ERROR, RecordedJudgment, answer_rows, judgment_row
from codecard.suites.mt_bench.journal import rate
from codecard.suites.mt_bench.judge import Judge

JUDGMENTS = "judgments.jsonl"
Parse = Callable[[str], float | None]


def rating_parser(data: MtBenchData, *, as_fastchat: bool) -> Parse:
    """How a rating is read out of a judge's text: the strict way on the definition's scale, or FastChat's own."""
    if as_fastchat:
        return parse_rating_as_reference
    lowest, highest = data.definition.scale
    return lambda text: parse_rating(text, lowest, highest)


def calibrate_judge(
    judge: Judge, data: MtBenchData, rows: Iterable[RecordedJudgment], parse: Parse, attempts: int,
    told: Callable[[Row], None],
) -> Calibration:  # fmt: skip
    """Put recorded prompts to `judge` and compare its ratings with the recorded ones.

    What a judge has said is kept in the cache folder, so that an interrupted calibration goes on; the result
    is kept there too, and shown beside every later score of the same judge.
    """
    from codecard.suites.mt_bench.recorded import recorded_prompt

    folder = _calibration(judge)
    make_dir(folder)
    recorded = {
        (row.form, row.user_prompt): (recorded_prompt(data, row), rating)
        for row in rows
        if row.text != API_ERROR and (rating := parse(row.text)) is not None
    }
    if not recorded:
        raise UsageError("no recorded rating to calibrate against")
    before = list(read_journal(folder / JUDGMENTS))
    ours: dict[tuple[str, str], float | None] = {}
    with Journal(folder / JUDGMENTS) as journal:
        for row, new in rate(judge, [prompt for prompt, _ in recorded.values()], before, parse, attempts):
            if new:
                journal.append(row)
            told(row)
            ours[row["form"], row["user_prompt"]] = row["rating"]
    found = calibrate((prompt.problem, theirs, ours.get(key)) for key, (prompt, theirs) in recorded.items())
    write_text(folder / "calibration.json", json.dumps(asdict(found), indent=1) + "\n")
    return found


def calibration_line(judge: Judge) -> str:
    """The kept calibration of a judge in a sentence; empty where `codecard judge calibrate` was not run for it."""
    path = _calibration(judge) / "calibration.json"
    if not path.is_file():
        return ""
    return f"judge {judge.name}: {Calibration(**json.loads(path.read_text('utf-8'))).line}"


def _calibration(judge: Judge) -> Path:
    return cache_dir() / "calibration" / content_key(judge.identity)


# ---------------------------------------------------------------- for FastChat


def export_fastchat(run: Path, model: str, out: Path) -> list[Path]:
    """Write a run as FastChat keeps it: model_answer/MODEL.jsonl and model_judgment/JUDGE_single.jsonl.

    The last judgment of each question and turn by the run's judge. `UsageError` where the run has no answers
    to MT-Bench.
    """
    questions = [row for row in read_journal(run / "executions.jsonl") if row.get("task") == TASK and "turns" in row]
    last = {row["problem"]: row for row in questions}
    answers = {
        name: tuple(turn["answer"] for turn in row["turns"])
        for name, row in last.items()
        if all(turn["answer"] is not None for turn in row["turns"])
    }
    if not answers:
        raise UsageError(f"{run}: no answers to MT-Bench")
    model = model.rstrip("/").rsplit("/", 1)[-1]
    now = time.time()
    written = [_write(out / "model_answer" / f"{model}.jsonl", answer_rows(model, answers, now))]
    judge = next((str(row["judge"]) for row in last.values() if row.get("judge")), "")
    if judge:
        rows = {(row["problem"], row["turn"]): row for row in read_journal(run / JUDGMENTS) if row["judge"] == judge}
        given = [_exported(row, model, now) for row in rows.values()]
        written.append(_write(out / "model_judgment" / f"{judge.rsplit('/', 1)[-1]}_single.jsonl", given))
    return written


def _exported(row: Row, model: str, now: float) -> Row:
    prompt = JudgePrompt(problem=row["problem"], turn=row["turn"], name=row["form"], system="", user=row["user_prompt"])
    return judgment_row(prompt, model=model, judge=row["judge"], text=row["judgment"], rating=row["rating"], tstamp=now)


def _write(path: Path, rows: Iterable[Row]) -> Path:
    make_dir(path.parent)
    write_lines(path, rows)
    return path
