"""The flow of MT-Bench: ten first turns, ten second turns that hold the first answers, twenty judgments.

Answers are in completions.jsonl and judgments in judgments.jsonl, each with its `turn`; every row is written
before anything else happens to it, so a killed run asks nothing again that was answered. executions.jsonl
gets one row a question, whose `value` is the mean of its ratings: what a comparison of two runs pairs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from codecard.generate import GenerationRequest, Generator, Message
from codecard.judge import Judge, JudgedRow, rate
from codecard.model import Completion, Estimate, Problem, PromptStyle, Rubric, UsageError
from codecard.pipeline.evaluator import Row
from codecard.pipeline.judging import open_judge
from codecard.score.rating import Rated, estimate_ratings
from codecard.sql.data import fetch
from codecard.store import Journal, RunFolder, completion_of, completion_row, read_journal
from codecard.tasks.fastchat import API_ERROR, Answers, RecordedJudgment, Recording
from codecard.tasks.mt_bench import TASK, TURNS, JudgePrompt, Suite, clean_answer, definition, load_suite
from codecard.tasks.paths import cache_dir
from codecard.tasks.ratings import parse_rating, parse_rating_as_reference

JUDGMENTS = "judgments.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class MtBenchOptions:
    """The user's choices; None and empty leave the protocol as the definition has it.

    `judge` None: answers only. `references`: another file of reference answers. `system`: a system message
    for the model asked. `reference_parser`: read ratings by FastChat's own rule, faults included.
    """

    judge: str | None = None
    judge_base_url: str | None = None
    judge_attempts: int = 1
    judge_max_new_tokens: int | None = None
    references: Path | None = None
    system: str = ""
    temperature: float | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    allow_missing: bool = False
    reference_parser: bool = False


def open_suite(data_dir: Path | None, references: Path | None = None) -> Suite:
    """The suite from `data_dir`/mt_bench, or from the cache after fetching the pinned files."""
    if data_dir is not None:
        return load_suite(data_dir / "mt_bench", references)
    folder = cache_dir() / "mt_bench"
    for file in definition().files.values():
        fetch(file, folder)
    return load_suite(folder, references)


class MtBenchEvaluator:
    """Asks, judges and scores. `close` it after use."""

    suite = "mt_bench"

    def __init__(self, options: MtBenchOptions, *, data_dir: Path | None, limit: int | None = None) -> None:
        self.skipped: dict[str, str] = {}
        self.notes: list[str] = []
        """What a reader must know beside the score, in sentences."""
        self.options = options
        self.data = open_suite(data_dir, options.references)
        self._problems = list(self.data.problems[:limit])
        self.counts = {TASK: len(self.data.problems)}
        self._failures: dict[tuple[str, int], str] = {}
        self.judge: Judge | None = None
        if options.judge:
            self.judge = open_judge(
                options.judge,
                self.data,
                base_url=options.judge_base_url,
                max_new_tokens=options.judge_max_new_tokens,
            )

    def problems(self) -> list[Problem]:
        return self._problems

    def describe(self) -> Row:
        """For the manifest. `mt_bench` decides the answers; `judge` may differ between two runs of one folder."""
        known, options = self.data.definition, self.options
        return {
            "data": {TASK: self.data.hashes["questions"]},
            "mt_bench": {
                "sampling": asdict(self._sampling),
                "stops": list(known.answer_stops),
                "system": options.system,
                "seed": options.seed,
            },
            "judge": None
            if self.judge is None
            else {
                "name": self.judge.name,
                "identity": self.judge.identity,
                "references": self.data.references,
                "hashes": dict(self.data.hashes),
                "parser": "reference" if options.reference_parser else "strict",
                "remark": self.remark(self.judge.name, self.judge.recognised),
            },
        }

    def remark(self, judge: str, recognised: bool) -> str:
        """Why a score by this judge says nothing about the card's number; empty where it does."""
        known = self.data.definition
        if judge not in known.same_as_reported:
            return f"judge {judge}; not comparable with the card"
        if not recognised:
            return f"judge {judge} at another endpoint than its maker's; not comparable with the card"
        if not self.data.original_references:
            return f"judge {judge} with references {self.data.references}; not comparable with the card"
        return ""

    # ------------------------------------------------------------ answers

    @property
    def _sampling(self) -> Any:
        standard, options = self.data.definition.answer_sampling, self.options
        return replace(
            standard,
            temperature=standard.temperature if options.temperature is None else options.temperature,
            max_new_tokens=options.max_new_tokens or standard.max_new_tokens,
        )

    def converse(self, folder: RunFolder, generator: Generator) -> Iterator[Completion]:
        """Ask what completions.jsonl does not hold yet, turn by turn; each answer is in the journal when yielded."""
        for turn in TURNS:
            have = self._completions(folder.path)
            requests = [
                request
                for problem in self._problems
                if (problem.id, turn) not in have and (request := self._request(problem, turn, have)) is not None
            ]
            asked = {request.problem for request in requests}
            for completion in generator.generate(requests):
                asked.discard(completion.problem)
                folder.completions.append(completion_row(completion) | {"turn": turn})
                yield completion
            failures = getattr(generator, "failures", {})
            for problem in asked:
                reason = failures.get((TASK, problem, 0), "no answer came")
                self._failures[problem, turn] = f"turn {turn} was not answered: {reason}"

    def to_ask(self, run: Path) -> int:
        return len(self._problems) * len(TURNS) - len(self._completions(run))

    def _request(
        self, problem: Problem, turn: int, have: Mapping[tuple[str, int], Completion]
    ) -> GenerationRequest | None:
        messages = [Message(role="system", content=self.options.system)] if self.options.system else []
        messages.append(Message(role="user", content=problem.prompt))
        if turn == 2:
            if (first := have.get((problem.id, 1))) is None:
                return None
            messages.append(Message(role="assistant", content=self._clean(first)))
            messages.append(Message(role="user", content=problem.turns[0]))
        return GenerationRequest(
            task=TASK,
            problem=problem.id,
            sample=0,
            prompt=tuple(messages),
            stops=self.data.definition.answer_stops,
            sampling=self._sampling,
            seed=self.options.seed,
        )

    def _clean(self, completion: Completion) -> str:
        return clean_answer(completion.text, self.data.definition.answer_stops)

    def _completions(self, run: Path) -> dict[tuple[str, int], Completion]:
        asked = {problem.id for problem in self._problems}
        return {
            (row["problem"], row["turn"]): completion_of(row)
            for row in read_journal(run / "completions.jsonl")
            if row.get("task") == TASK and row["problem"] in asked
        }

    def answers(self, run: Path) -> Answers:
        """The answers as the judge sees them; a question whose second turn is missing has one."""
        have = self._completions(run)
        found: Answers = {}
        for problem in self._problems:
            turns = []
            for turn in TURNS:
                if (completion := have.get((problem.id, turn))) is None:
                    break
                turns.append(self._clean(completion))
            found[problem.id] = tuple(turns)
        return found

    # ------------------------------------------------------------ judgments

    def prompts(self, run: Path) -> list[JudgePrompt]:
        """The judge's prompt of every answer that is there."""
        answers = self.answers(run)
        return [
            self.data.judge_prompt(problem, answers[problem.id], turn)
            for problem in self._problems
            for turn in TURNS
            if len(answers[problem.id]) >= turn
        ]

    def rate(self, run: Path) -> Iterator[Row]:
        """A journal row per answer, as judged by `self.judge`; only what no row holds yet is asked."""
        if self.judge is None:
            return
        before = list(read_journal(run / JUDGMENTS))
        journal = Journal(run / JUDGMENTS)
        try:
            for outcome, new in rate(self.judge, self.prompts(run), before, self._parse, self.options.judge_attempts):
                row = {"task": TASK} | outcome.row
                if new:
                    journal.append(row)
                yield row
        finally:
            journal.close()

    def _parse(self, text: str) -> float | None:
        if self.options.reference_parser:
            return parse_rating_as_reference(text)
        return parse_rating(text, *self.data.definition.scale)

    # ------------------------------------------------------------ scores

    def conclude(self, folder: RunFolder, rows: Iterable[Row], judge: str, remark: str) -> dict[str, Estimate]:
        """From judgment rows to the estimates, and one executions.jsonl row a question."""
        ratings = {(row["problem"], row["turn"]): row for row in rows}
        rated = [self._rated(problem.id, turn, ratings) for problem in self._problems for turn in TURNS]
        for problem in self._problems:
            folder.executions.append(_question_row(problem.id, rated, judge))
        estimates = estimate_ratings(rated, judge=_by(judge, remark), allow_missing=self.options.allow_missing)
        self._note(rated, remark)
        return estimates

    def _rated(self, problem: str, turn: int, ratings: Mapping[tuple[str, int], Row]) -> Rated:
        row = ratings.get((problem, turn))
        if row is None:
            default = "no judge was named" if self.judge is None else "no answer to judge"
            void = self._failures.get((problem, turn)) or self._failures.get((problem, 1)) or default
            return Rated(question=problem, turn=turn, rating=None, void=void)
        return Rated(question=problem, turn=turn, rating=row["rating"], void=row["void"])

    def _note(self, rated: list[Rated], remark: str) -> None:
        if remark:
            self.notes.append(remark)
        voids = [row for row in rated if row.rating is None]
        if not voids:
            return
        reasons: dict[str, list[str]] = {}
        for row in voids:
            reasons.setdefault(row.void, []).append(f"{row.question}/{row.turn}")
        detail = "; ".join(f"{reason}: {', '.join(places)}" for reason, places in reasons.items())
        verb = "scored without them (--allow-missing)" if self.options.allow_missing else "no score"
        self.notes.append(f"{len(voids)} of {len(rated)} ratings missing, {verb}: {detail}")

    def close(self) -> None:
        if self.judge is not None:
            self.judge.close()

    # ------------------------------------------------------------ recorded elsewhere

    def take_answers(self, folder: RunFolder, answers: Answers) -> None:
        """Put answers made elsewhere into the journal, as generated ones are."""
        have = self._completions(folder.path)
        for problem in self._problems:
            for turn, text in enumerate(answers[problem.id], 1):
                before = have.get((problem.id, turn))
                if before is None:
                    folder.completions.append(_answer_row(problem.id, turn, text))
                elif before.text != text:
                    raise UsageError(
                        f"{folder.path} holds another answer to question {problem.id} turn {turn}; choose another --out"
                    )

    def take_recording(self, folder: RunFolder, recorded: Recording) -> list[Row]:
        """Judgments made elsewhere as journal rows, rated from their texts; the answers out of their prompts.

        `UsageError` where a turn has no judgment (unless `allow_missing`), or where the two turns of a
        question were judged on different first answers: they are not of one run.
        """
        self._complete(recorded)
        answers = self._recorded_answers(recorded)
        self.take_answers(folder, answers)
        have = {row["key"] for row in read_journal(folder.path / JUDGMENTS)}
        journal = Journal(folder.path / JUDGMENTS)
        rows = [self._recorded_row(judgment) for judgment in recorded.judgments.values()]
        for row in rows:
            if row["key"] not in have:
                journal.append(row)
        journal.close()
        differing = [
            f"{j.problem}/{j.turn}"
            for j, row in zip(recorded.judgments.values(), rows, strict=True)
            if j.score != (-1 if row["rating"] is None else row["rating"])
        ]
        if differing:
            self.notes.append(
                f"{len(differing)} recorded scores are not what the judgment's text says: {', '.join(differing)}"
            )
        return rows

    def _complete(self, recorded: Recording) -> None:
        missing = [(p.id, t) for p in self._problems for t in TURNS if (p.id, t) not in recorded.judgments]
        for place in missing:
            self._failures[place] = "the file holds no judgment"
        if missing and not self.options.allow_missing:
            places = ", ".join(f"{name}/{turn}" for name, turn in missing)
            raise UsageError(
                f"{recorded.model}: {len(missing)} of {len(self._problems) * len(TURNS)} judgments missing "
                f"(question/turn {places}); --allow-missing scores the rest"
            )

    def _recorded_answers(self, recorded: Recording) -> Answers:
        found: Answers = {}
        strange = []
        for problem in self._problems:
            turns: tuple[str, ...] = ()
            for turn in TURNS:
                judgment = recorded.judgments.get((problem.id, turn))
                if judgment is None:
                    break
                given = self.data.answers_in(problem, turn, judgment.user_prompt)
                if given is None:
                    strange.append(f"{problem.id}/{turn}")
                    break
                if given[: turn - 1] != turns:
                    raise UsageError(
                        f"{recorded.model}: question {problem.id}: turn 2 was judged with another first answer "
                        "than turn 1, so they are not of one run"
                    )
                turns = given
            found[problem.id] = turns
        if strange:
            self.notes.append(f"prompts that are not FastChat's with these references: {', '.join(strange)}")
        return found

    def _recorded_row(self, judgment: RecordedJudgment) -> Row:
        failed = judgment.text == API_ERROR
        rating = None if failed else self._parse(judgment.text)
        reason = "the judge's endpoint failed" if failed else "no rating in the judge's text"
        prompt = JudgePrompt(
            problem=judgment.problem,
            turn=judgment.turn,
            name=judgment.form,
            system=self.data.forms[judgment.form]["system_prompt"],
            user=judgment.user_prompt,
        )
        outcome = JudgedRow(
            prompt=prompt,
            judge=judgment.judge,
            key=f"{prompt.key}-{judgment.judge}-{judgment.line}",
            text=None if failed else judgment.text,
            rating=rating,
            void="" if rating is not None else reason,
        )
        return {"task": TASK} | outcome.row


def _by(judge: str, remark: str) -> str:
    return f"judge {judge}" + (" (not comparable with the card)" if remark else "") if judge else ""


def _answer_row(problem: str, turn: int, text: str) -> Row:
    completion = Completion(task=TASK, problem=problem, sample=0, text=text, style=PromptStyle.CHAT)
    return completion_row(completion) | {"turn": turn}


def _question_row(problem: str, rated: list[Rated], judge: str) -> Row:
    rows = [row for row in rated if row.question == problem]
    ratings = [row.rating for row in rows if row.rating is not None]
    whole = len(ratings) == len(rows)
    return {
        "task": TASK,
        "problem": problem,
        "sample": 0,
        "verdict": "rated" if whole else "void",
        "passed": None,
        "value": sum(ratings) / len(ratings) if whole else None,
        "void": "; ".join(f"turn {row.turn}: {row.void}" for row in rows if row.rating is None),
        "ratings": [row.rating for row in rows],
        "judge": judge,
    }


def problem_row(problem: Problem) -> Row:
    """For problems.jsonl: both questions and both references. `samples`: one dialogue, whatever the run's."""
    assert isinstance(problem.checker, Rubric)
    return {
        "task": problem.task,
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "turns": list(problem.turns),
        "references": list(problem.checker.references),
        "samples": 1,
    }


def now() -> float:
    """Seconds since the epoch, for rows that other tools read."""
    return time.time()
