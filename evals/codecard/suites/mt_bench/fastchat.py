"""FastChat's `model_answer` and `model_judgment` rows, in and out. Rows are checked before any is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.files import numbered_rows, read_bytes
from codecard.journal import read_journal
from codecard.model import UsageError
from codecard.suites.mt_bench.data import TASK, TURNS, JudgePrompt, MtBenchData

API_ERROR = "$ERROR$"
"""What FastChat writes as judgment when its judge's endpoint failed (common.py, `API_ERROR_OUTPUT`)."""
ANSWER_ERROR = "ERROR"
"""What FastChat writes as answer when the model's run failed (gen_model_answer.py, `RuntimeError`)."""

Answers = dict[str, tuple[str, ...]]
"""Question id → the answers of its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJudgment:
    """One row of a judgment file. `score` as recorded: -1 where the judge gave no rating."""

    line: int
    problem: str
    turn: int
    model: str
    judge: str
    form: str
    user_prompt: str
    text: str
    score: float

    @property
    def place(self) -> tuple[str, int]:
        return (self.problem, self.turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One run's judgments by one judge: a judgment per question and turn, or none where the file has none."""

    model: str
    judge: str
    judgments: Mapping[tuple[str, int], RecordedJudgment]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return numbered_rows(read_bytes(path), path)


def is_answer_file(path: Path) -> bool:
    """Whether the first row is a model's answer; a judgment otherwise."""
    rows = list(_lines(path))
    if not rows:
        raise UsageError(f"{path}: an empty file")
    return "choices" in rows[0][1]


def read_answers(path: Path, suite: MtBenchData) -> tuple[str, Answers]:
    """The model's name and its answers to the suite's questions; rows of other categories are left out."""
    found: Answers = {}
    models: dict[str, None] = {}
    for line, row in _lines(path):
        where = f"{path}:{line}"
        name = _question(row, where, suite)
        if name is None:
            continue
        try:
            turns = tuple(row["choices"][0]["turns"])
            models[str(row["model_id"])] = None
        except (KeyError, IndexError, TypeError) as error:
            raise UsageError(f"{where}: no {error if isinstance(error, KeyError) else 'turns'}") from None
        if len(turns) != len(TURNS) or not all(isinstance(turn, str) for turn in turns):
            raise UsageError(f"{where}: question {name} has {len(turns)} answers; expected two texts")
        if name in found:
            raise UsageError(f"{where}: question {name} is answered twice")
        found[name] = turns
    if len(models) != 1:
        raise UsageError(f"{path}: answers of {len(models)} models to the coding questions; expected one")
    if missing := [name for name in suite.definition.ids if name not in found]:
        raise UsageError(f"{path}: no answer to question {', '.join(missing)}")
    return next(iter(models)), found


def run_answers(run: Path, data: MtBenchData) -> tuple[str, Answers]:
    """The model's name and its answers in a run folder, for another judge."""
    found: dict[str, dict[int, str]] = {}
    for row in read_journal(run / "completions.jsonl", ("task", "problem")):
        if row["task"] == TASK:
            found.setdefault(row["problem"], {})[row.get("turn", 1)] = str(row.get("answer", row.get("completion")))
    if not found:
        raise UsageError(f"{run}: no answers to MT-Bench")
    answers = {name: tuple(turns[turn] for turn in TURNS if turn in turns) for name, turns in found.items()}
    if short := [name for name in data.definition.ids if len(answers.get(name, ())) < len(TURNS)]:
        raise UsageError(f"{run}: no whole answer to question {', '.join(short)}")
    return run.resolve().name, answers


def read_judgments(path: Path, suite: MtBenchData) -> list[RecordedJudgment]:
    """Every judgment of the suite's questions, in the file's order. `UsageError` names the first bad line."""
    found = []
    for line, row in _lines(path):
        where = f"{path}:{line}"
        name = _question(row, where, suite)
        if name is not None:
            found.append(_judgment(row, name, line, where, suite))
    if not found:
        raise UsageError(f"{path}: no judgment of a coding question ({_span(suite)})")
    return found


def recording(
    rows: Iterable[RecordedJudgment], where: Path, model: str | None = None, judge: str | None = None
) -> Recording:
    """One model's judgments by one judge. Never a mixture: what is ambiguous is refused with the choices.

    `NAME#2` is the second of several runs recorded under one name, told apart by the order of the rows.
    """
    rows = list(rows)
    name, number = model or "", ""
    if "#" in name and name not in {row.model for row in rows}:
        name, _, number = name.rpartition("#")
    rows = _only(rows, name or None, "model", "--set mt_bench.judged_model=", where)
    rows = _only(rows, judge, "judge", "--judge", where)
    counts = Counter(row.place for row in rows)
    runs = max(counts.values())
    if runs == 1 and number in ("", "1"):
        return Recording(model=rows[0].model, judge=rows[0].judge, judgments={row.place: row for row in rows})
    if runs == 1 or set(counts.values()) != {runs}:
        (question, turn), count = counts.most_common(1)[0]
        lines = ", ".join(str(row.line) for row in rows if row.place == (question, turn))
        if runs == 1:
            raise UsageError(f"{where}: {name} is recorded once; there is no {model}")
        raise UsageError(f"{where}: question {question} turn {turn} is judged {count} times (lines {lines})")
    choices = [f"{rows[0].model}#{run}" for run in range(1, runs + 1)]
    if f"{rows[0].model}#{number}" not in choices:
        raise UsageError(
            f"{where}: {rows[0].model} is recorded {runs} times under one name, which is {runs} runs and no "
            f"average; name one with --set mt_bench.judged_model=: {', '.join(choices)}"
        )
    seen: Counter[tuple[str, int]] = Counter()
    chosen = {}
    for row in rows:
        seen[row.place] += 1
        if seen[row.place] == int(number):
            chosen[row.place] = row
    return Recording(model=f"{rows[0].model}#{number}", judge=rows[0].judge, judgments=chosen)


def answer_rows(model: str, answers: Mapping[str, tuple[str, ...]], tstamp: float) -> list[dict[str, Any]]:
    """Rows of a `model_answer` file."""
    return [
        {
            "question_id": int(name),
            "answer_id": f"{model}-{name}",
            "model_id": model,
            "choices": [{"index": 0, "turns": list(turns)}],
            "tstamp": tstamp,
        }
        for name, turns in answers.items()
    ]


def judgment_row(
    prompt: JudgePrompt, *, model: str, judge: str, text: str | None, rating: float | None, tstamp: float
) -> dict[str, Any]:
    """A row of a `model_judgment` file; a void rating is FastChat's -1, a failed request its `$ERROR$`."""
    score: float = -1 if rating is None else int(rating) if rating.is_integer() else rating
    return {
        "question_id": int(prompt.problem),
        "model": model,
        "judge": [judge, prompt.name],
        "user_prompt": prompt.user,
        "judgment": API_ERROR if text is None else text,
        "score": score,
        "turn": prompt.turn,
        "tstamp": tstamp,
    }


def _question(row: Mapping[str, Any], where: str, suite: MtBenchData) -> str | None:
    """The row's question as the suite names it; None for another category's question."""
    number = row.get("question_id")
    if type(number) is not int:
        raise UsageError(f"{where}: no question_id, or not a whole number")
    if number not in suite.definition.all_ids:
        raise UsageError(f"{where}: question {number} is not in MT-Bench ({_span(suite)} are its coding questions)")
    return str(number) if str(number) in suite.definition.ids else None


def _span(suite: MtBenchData) -> str:
    return f"{suite.definition.ids[0]} to {suite.definition.ids[-1]}"


def _judgment(row: Mapping[str, Any], name: str, line: int, where: str, suite: MtBenchData) -> RecordedJudgment:
    for field in ("model", "judge", "user_prompt", "judgment", "score", "turn"):
        if field not in row:
            raise UsageError(f"{where}: no field {field!r}")
    turn, judge, score = row["turn"], row["judge"], row["score"]
    if turn not in TURNS or type(turn) is not int:
        raise UsageError(f"{where}: turn {turn!r}; expected 1 or 2")
    if not (isinstance(judge, list) and len(judge) == 2 and all(isinstance(part, str) for part in judge)):
        raise UsageError(f"{where}: unknown judge {judge!r}; expected [name, prompt form]")
    expected = suite.definition.prompts[turn - 1]
    if judge[1] != expected:
        raise UsageError(f"{where}: unknown judge form {judge[1]!r}; turn {turn} of coding is judged with {expected}")
    if type(score) not in (int, float):
        raise UsageError(f"{where}: score {score!r} is not a number")
    texts = {field: row[field] for field in ("model", "user_prompt", "judgment")}
    for field, value in texts.items():
        if not isinstance(value, str):
            raise UsageError(f"{where}: {field} is not text")
    return RecordedJudgment(
        line=line,
        problem=name,
        turn=turn,
        model=texts["model"],
        judge=judge[0],
        form=judge[1],
        user_prompt=texts["user_prompt"],
        text=texts["judgment"],
        score=float(score),
    )


def _only(
    rows: Iterable[RecordedJudgment], wanted: str | None, field: str, option: str, where: Path
) -> list[RecordedJudgment]:
    rows = list(rows)
    names = list(dict.fromkeys(str(getattr(row, field)) for row in rows))
    if wanted is None and len(names) > 1:
        raise UsageError(f"{where}: judgments of {len(names)} {field}s; name one with {option}: {', '.join(names)}")
    chosen = names[0] if wanted is None else wanted
    if chosen not in names:
        raise UsageError(f"{where}: unknown {field} {chosen!r}; the file has {', '.join(names)}")
    return [row for row in rows if getattr(row, field) == chosen]
