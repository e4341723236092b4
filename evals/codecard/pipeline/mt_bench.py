"""The flow of MT-Bench: ten first turns, ten second turns that hold the first answers, twenty judgments.

Answers are in completions.jsonl and judgments in judgments.jsonl, each with its `turn`; every row is written
before anything else happens to it, so a killed run asks nothing again that was answered. executions.jsonl
gets one row a question, whose `value` is the mean of its ratings: what a comparison of two runs pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from codecard.generate import GenerationRequest, Generator, Message
from codecard.judge import Judge, rate
from codecard.model import Completion, Problem, PromptStyle, Rubric, Sampling, UsageError
from codecard.pipeline.evaluator import Asking, Row
from codecard.pipeline.judging import open_judge
from codecard.pipeline.run import Outcome, RunPlan, Watcher, manifest_of, recipe_of, scores_json
from codecard.score.rating import Rated, estimate_ratings
from codecard.sql.data import fetch
from codecard.store import Journal, RunFolder, completion_of, completion_row, read_journal
from codecard.tasks.fastchat import ANSWER_ERROR, Answers
from codecard.tasks.mt_bench import TASK, TURNS, JudgePrompt, Suite, clean_answer, definition, load_suite
from codecard.tasks.paths import cache_dir
from codecard.tasks.ratings import parse_rating, parse_rating_as_reference

SUITE = "mt_bench"
JUDGMENTS = "judgments.jsonl"
IDENTITY = ("suites", "recipe", "data", "mt_bench")
Place = tuple[str, int]
"""Question id and turn."""


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


@dataclass(slots=True, kw_only=True)
class MtBenchOutcome:
    """The scores, and in `notes` what a reader must know beside them, in sentences."""

    judge: str
    outcome: Outcome
    notes: list[str] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        return self.outcome.scores[TASK]["score"].value is None


def open_suite(data_dir: Path | None, references: Path | None = None) -> Suite:
    """The suite from `data_dir`/mt_bench, or from the cache after fetching the pinned files."""
    if data_dir is not None:
        return load_suite(data_dir / SUITE, references)
    folder = cache_dir() / SUITE
    for file in definition().files.values():
        fetch(file, folder)
    return load_suite(folder, references)


def run_mt_bench(plan: RunPlan, session: Session, generator: Generator, watcher: Watcher) -> MtBenchOutcome:
    """Ask, judge and score; on a folder that holds part of this run, do the rest of it."""
    asking = Asking(style=PromptStyle.CHAT, sampling=session.sampling, seed=session.options.seed)
    recipe = {"recipe": recipe_of(plan, generator, asking), "fingerprint": generator.fingerprint()}
    with RunFolder(plan.out, manifest_of(plan, []) | session.describe() | recipe, IDENTITY) as folder:
        session.begin(folder, watcher)
        for completion in session.converse(folder, generator):
            watcher.generated(completion)
        return session.judge_and_conclude(folder, watcher)


def score_answers(plan: RunPlan, session: Session, answers: Answers, watcher: Watcher) -> MtBenchOutcome:
    """Judge and score answers made elsewhere."""
    nothing = {"recipe": None, "fingerprint": None}
    with RunFolder(plan.out, manifest_of(plan, []) | session.describe() | nothing, IDENTITY) as folder:
        session.take_answers(folder, answers)
        session.begin(folder, watcher)
        return session.judge_and_conclude(folder, watcher)


class Session:
    """The suite with the user's choices and an open judge; `close` it after use."""

    def __init__(self, options: MtBenchOptions, *, data_dir: Path | None, limit: int | None = None) -> None:
        self.options = options
        self.data = open_suite(data_dir, options.references)
        self.problems = list(self.data.problems[:limit])
        self.failures: dict[Place, str] = {}
        """Why an answer or a judgment is not there."""
        self.judge: Judge | None = None
        if options.judge:
            self.judge = open_judge(
                options.judge,
                self.data,
                base_url=options.judge_base_url,
                max_new_tokens=options.judge_max_new_tokens,
            )

    def close(self) -> None:
        if self.judge is not None:
            self.judge.close()

    @property
    def places(self) -> list[Place]:
        return [(problem.id, turn) for problem in self.problems for turn in TURNS]

    @property
    def sampling(self) -> Sampling:
        """How answers are sampled: greedy, 1,024 tokens, unless the user wants it otherwise."""
        standard, options = self.data.definition.answer_sampling, self.options
        return replace(
            standard,
            temperature=standard.temperature if options.temperature is None else options.temperature,
            max_new_tokens=options.max_new_tokens or standard.max_new_tokens,
        )

    def describe(self) -> Row:
        """For the manifest. `mt_bench` decides the answers; the judge may differ from run to run of one folder."""
        judge = None if self.judge is None else self.describe_judge(self.judge.name, self.judge.recognised)
        if judge is not None and self.judge is not None:
            judge |= {"identity": self.judge.identity}
        return {
            "data": {TASK: self.data.hashes["questions"]},
            "mt_bench": {"stops": list(self.data.definition.answer_stops), "system": self.options.system},
            "judge": judge,
        }

    def describe_judge(self, name: str, recognised: bool) -> Row:
        """`model` is the judge as its scores may be compared: a bare name only where it is that model's."""
        remark = self.remark(name, recognised)
        return {
            "name": name,
            "model": remark.partition(";")[0].removeprefix("judge ") or name,
            "remark": remark,
            "references": self.data.references,
            "hashes": dict(self.data.hashes),
            "parser": "reference" if self.options.reference_parser else "strict",
        }

    def remark(self, judge: str, recognised: bool) -> str:
        """Why a score by this judge says nothing about the card's number; empty where it does."""
        why = ""
        if judge in self.data.definition.same_as_reported:
            if not recognised:
                why = " at another endpoint than its maker's"
            elif not self.data.original_references:
                why = f" with references {self.data.references}"
            else:
                return ""
        return f"judge {judge}{why}; not comparable with the card"

    def begin(self, folder: RunFolder, watcher: Watcher) -> None:
        folder.write_problems(_problem_row(problem) for problem in self.problems)
        total = len(self.places)
        watcher.plan(SUITE, total - len(self._completions(folder.path)), total)

    # ------------------------------------------------------------ answers

    def converse(self, folder: RunFolder, generator: Generator) -> Iterator[Completion]:
        """Ask what completions.jsonl does not hold yet, turn by turn; each answer is in it when yielded."""
        for turn in TURNS:
            have = self._completions(folder.path)
            missing = [problem for problem in self.problems if (problem.id, turn) not in have]
            requests = [request for problem in missing if (request := self._request(problem, turn, have))]
            asked = {request.problem for request in requests}
            for completion in generator.generate(requests):
                asked.discard(completion.problem)
                folder.completions.append(completion_row(completion) | {"turn": turn})
                yield completion
            reasons = getattr(generator, "failures", {})
            for name in asked:
                reason = reasons.get((TASK, name, 0), "no answer came")
                self.failures |= {(name, later): f"turn {turn} not answered: {reason}" for later in TURNS[turn - 1 :]}

    def _request(self, problem: Problem, turn: int, have: Mapping[Place, Completion]) -> GenerationRequest | None:
        """None where the first turn has no answer to go on from."""
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
            sampling=self.sampling,
            seed=self.options.seed,
        )

    def take_answers(self, folder: RunFolder, answers: Answers) -> None:
        """Put answers made elsewhere into the journal, as generated ones are."""
        have = self._completions(folder.path)
        for problem in self.problems:
            for turn, text in enumerate(answers[problem.id], 1):
                before = have.get((problem.id, turn))
                if before is None:
                    row = Completion(task=TASK, problem=problem.id, sample=0, text=text, style=PromptStyle.CHAT)
                    folder.completions.append(completion_row(row) | {"turn": turn})
                elif before.text != text:
                    raise UsageError(
                        f"{folder.path} holds another answer to question {problem.id} turn {turn}; choose another --out"
                    )

    def answers(self, run: Path) -> Answers:
        """The answers as the judge sees them, as many turns as there are of each question."""
        have = self._completions(run)
        found: Answers = {}
        for problem in self.problems:
            turns: list[str] = []
            for turn in TURNS:
                if (completion := have.get((problem.id, turn))) is None:
                    break
                turns.append(self._clean(completion))
            found[problem.id] = tuple(turns)
        return found

    def _clean(self, completion: Completion) -> str:
        return clean_answer(completion.text, self.data.definition.answer_stops)

    def _completions(self, run: Path) -> dict[Place, Completion]:
        asked = {problem.id for problem in self.problems}
        return {
            (row["problem"], row["turn"]): completion_of(row)
            for row in read_journal(run / "completions.jsonl")
            if row.get("task") == TASK and row["problem"] in asked
        }

    # ------------------------------------------------------------ judgments

    def prompts(self, run: Path) -> Iterator[JudgePrompt]:
        """The judge's prompt of every answer that is there, and no failure that FastChat wrote as an answer."""
        answers = self.answers(run)
        for problem in self.problems:
            for turn in TURNS:
                given = answers[problem.id][:turn]
                if ANSWER_ERROR in given:
                    self.failures[problem.id, turn] = f"FastChat recorded a failure ({ANSWER_ERROR}) as the answer"
                elif len(given) == turn:
                    yield self.data.judge_prompt(problem, given, turn)

    def rate(self, run: Path) -> Iterator[Row]:
        """A journal row per answer, as judged by `self.judge`; only what no row holds yet is asked."""
        if self.judge is None:
            return
        before = list(read_journal(run / JUDGMENTS))
        prompts = list(self.prompts(run))
        journal = Journal(run / JUDGMENTS)
        try:
            for outcome, new in rate(self.judge, prompts, before, self.parse, self.options.judge_attempts):
                row = {"task": TASK} | outcome.row
                if new:
                    journal.append(row)
                yield row
        finally:
            journal.close()

    def parse(self, text: str) -> float | None:
        if self.options.reference_parser:
            return parse_rating_as_reference(text)
        return parse_rating(text, *self.data.definition.scale)

    def judge_and_conclude(self, folder: RunFolder, watcher: Watcher) -> MtBenchOutcome:
        rows = []
        for row in self.rate(folder.path):
            rows.append(row)
            watcher.executed(row)
        if self.judge is None:
            return self.conclude(folder, rows, "", "")
        return self.conclude(folder, rows, self.judge.name, self.remark(self.judge.name, self.judge.recognised))

    # ------------------------------------------------------------ scores

    def conclude(self, folder: RunFolder, rows: Iterable[Row], judge: str, remark: str) -> MtBenchOutcome:
        """From judgment rows (the last of a question and turn counts) to scores.json and a row a question."""
        last = {(row["problem"], row["turn"]): row for row in rows}
        rated = [self._rated(place, last.get(place), judge) for place in self.places]
        answers = self.answers(folder.path)
        for problem in self.problems:
            own = [row for row in rated if row.question == problem.id]
            folder.executions.append(_question_row(problem, own, answers[problem.id], last, judge))
        by = "" if not judge else f"judge {judge} (not comparable with the card)" if remark else f"judge {judge}"
        scores = {TASK: estimate_ratings(rated, judge=by, allow_missing=self.options.allow_missing)}
        dropped = len(self.data.problems) - len(self.problems)
        outcome = Outcome(scores=scores, missing={TASK: dropped} if dropped else {}, executed=len(rated))
        folder.write_scores(scores_json(outcome))
        return MtBenchOutcome(judge=judge, outcome=outcome, notes=self._notes(rated, remark))

    def _rated(self, place: Place, row: Row | None, judge: str) -> Rated:
        if row is not None:
            return Rated(question=place[0], turn=place[1], rating=row["rating"], void=row["void"])
        unjudged = f"no judge was named (--judge openai:{self.data.definition.reported_judge})"
        void = self.failures.get(place) or ("no answer" if judge else unjudged)
        return Rated(question=place[0], turn=place[1], rating=None, void=void)

    def _notes(self, rated: list[Rated], remark: str) -> list[str]:
        notes = [remark] if remark else []
        reasons: dict[str, list[str]] = {}
        for row in rated:
            if row.rating is None:
                reasons.setdefault(row.void, []).append(f"{row.question}/{row.turn}")
        if reasons:
            count = sum(map(len, reasons.values()))
            means = (
                "scored without them" if self.options.allow_missing else "no score (--allow-missing scores the rest)"
            )
            detail = "; ".join(f"{reason}: {', '.join(places)}" for reason, places in reasons.items())
            notes.append(f"{count} of {len(rated)} ratings missing, {means}: {detail}")
        return notes


def _question_row(
    problem: Problem, rated: list[Rated], answers: tuple[str, ...], judgments: Mapping[Place, Row], judge: str
) -> Row:
    """One question for executions.jsonl; `turns` holds all that a reader needs to check its ratings."""
    ratings = [row.rating for row in rated if row.rating is not None]
    whole = len(ratings) == len(rated)
    questions = (problem.prompt, *problem.turns)
    return {
        "task": TASK,
        "problem": problem.id,
        "sample": 0,
        "verdict": "rated" if whole else "void",
        "passed": None,
        "value": sum(ratings) / len(ratings) if whole else None,
        "void": "; ".join(f"turn {row.turn}: {row.void}" for row in rated if row.rating is None),
        "judge": judge,
        "turns": [
            {
                "turn": row.turn,
                "question": questions[row.turn - 1],
                "answer": answers[row.turn - 1] if len(answers) >= row.turn else None,
                "judgment": judgments.get((problem.id, row.turn), {}).get("judgment"),
                "rating": row.rating,
                "void": row.void,
            }
            for row in rated
        ],
    }


def _problem_row(problem: Problem) -> Row:
    """For problems.jsonl: both questions and both references."""
    assert isinstance(problem.checker, Rubric)
    return {
        "task": problem.task,
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "turns": list(problem.turns),
        "references": list(problem.checker.references),
    }
