"""MT-Bench, category coding: ten dialogues of two turns, and twenty judgments.

Answers are in completions.jsonl, turn by turn; what the judge said is in judgments.jsonl, each text before anything
else happens to it, so that a killed run pays for nothing twice. A question's outcome holds both turns; its value is
the mean of its ratings: what a comparison of two runs pairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codecard.files import Row
from codecard.generate.port import GenerationRequest, Message
from codecard.journal import Journal, read_journal
from codecard.model import (
    Asking,
    Completion,
    Estimates,
    Outcome,
    Problem,
    PromptStyle,
    SampleId,
    Score,
    Table,
    TableCell,
    Unit,
    UsageError,
    Void,
    content_key,
)
from codecard.paths import data_dir
from codecard.settings import Options, option
from codecard.stats.rating import RATING_RANGE, Rated, estimate_ratings
from codecard.suites.mt_bench.data import TASK, TURNS, JudgePrompt, MtBenchData, clean_answer, definition, open_data
from codecard.suites.mt_bench.fastchat import ANSWER_ERROR, Answers, is_answer_file, read_answers, run_answers
from codecard.suites.mt_bench.journal import rate
from codecard.suites.mt_bench.judge import Judge, open_judge
from codecard.suites.mt_bench.ratings import JUDGMENTS, calibration_line, rating_parser
from codecard.suites.suite import Facts, Lengths, Session, Setting, Suite, Work, request_of

COLUMNS = (("Score", "score"), ("Turn 1", "turn_1"), ("Turn 2", "turn_2"))
NOBODY = "unplanned"
"""Who failed where no judge was named: nobody."""


class MtBenchOptions(Options):
    max_new_tokens: int = option(1024, about="tokens of an answer", role="asking", ge=1)
    system: str = option("", about="a system message for the model", role="asking", old="--system")
    judge: str | None = option(None, about="the judge, named as a model is", role="free", flag="--judge", shown=True)
    judge_base_url: str | None = option(
        None, about="the judge's server; its key is OPENAI_API_KEY", role="free", flag="--judge-base-url"
    )
    judge_attempts: int = option(
        1, about="tries for a judgment without a rating", role="free", old="--judge-attempts", ge=1
    )
    judge_max_new_tokens: int | None = option(
        None, about="tokens of a judgment; default: 2048", role="free", old="--judge-max-new-tokens", ge=1
    )
    references: str | None = option(None, about="another file of reference answers", role="free", old="--references")
    fastchat_regex: bool = option(
        False, about="read ratings as FastChat does, bare brackets too", role="free", old="--fastchat-regex"
    )
    allow_missing: bool = option(False, about="score without the missing ratings", role="free", flag="--allow-missing")
    judged_model: str | None = option(
        None, about="the model, where a file holds several; NAME#2: its second run", role="free", old="--judged-model"
    )


class MtBench(Suite):
    name = kind = "mt_bench"
    title = "MT-Bench Coding, mean rating of 1 to 10"
    summary = "two turns of ten coding questions, rated by a judge"
    options = MtBenchOptions
    sampled = False
    scale = RATING_RANGE
    counts = "questions"

    def tasks(self) -> dict[str, str]:
        return {TASK: "coding"}

    def asking(self, setting: Setting, options: MtBenchOptions) -> Asking:
        """Greedy, 1,024 tokens, in chat form, unless the user wants it otherwise (FastChat's own for this category)."""
        asked, standard = setting.asked, definition().answer_sampling
        sampling = replace(
            standard,
            temperature=standard.temperature if asked.temperature is None else asked.temperature,
            max_new_tokens=asked.max_new_tokens or options.max_new_tokens,
        )
        return Asking(style=PromptStyle.CHAT, sampling=sampling, seed=asked.seed or 0)

    def open(self, setting: Setting, options: MtBenchOptions, files: Sequence[Path] = ()) -> Session:
        if not files:
            return MtBenchSession(self, setting, options)
        if len(files) != 1:
            raise UsageError(f"--suite {self.name} scores one file at a time")
        data = open_data(setting.data_dir, Path(options.references) if options.references else None)
        if files[0].is_dir() or is_answer_file(files[0]):
            if options.judge is None:
                raise UsageError(f"{files[0]} holds answers; name a judge for them with --judge")
            label, answers = run_answers(files[0], data) if files[0].is_dir() else read_answers(files[0], data)
            session = MtBenchSession(self, setting, options, answers)
            session.label = label
            return session
        from codecard.suites.mt_bench.recorded import RecordedSession

        return RecordedSession(self, setting, options, files[0])

    def lengths(self, options: MtBenchOptions) -> Lengths:
        return Lengths(
            questions={TASK: len(definition().ids)}, prompt_tokens={TASK: 400}, new_tokens=400,
            max_new_tokens=options.max_new_tokens, turns=len(TURNS), judge_prompt_tokens=1600, judge_new_tokens=250,
            detectable="mean rating",
        )  # fmt: skip

    def summarise(self, scores: Sequence[Score], outcomes: Mapping[SampleId, Outcome], facts: Row) -> Estimates:
        """The mean of the ratings of both turns and of each, refused where one is missing."""
        rated: list[Rated] = []
        for score in scores:
            outcome = outcomes.get((score.task, score.problem, score.sample))
            turns = {turn["turn"]: turn for turn in outcome.facts.get("turns", ())} if outcome is not None else {}
            for turn in TURNS:
                found = turns.get(turn, {"rating": None, "void": score.void})
                rating, void = found["rating"], found["void"]
                rated.append(Rated(question=score.problem, turn=turn, rating=rating, void=void))
        judge, remark = judge_of(facts)
        by = "" if not judge else f"judge {judge} (not comparable with the card)" if remark else f"judge {judge}"
        return {TASK: estimate_ratings(rated, judge=by, allow_missing=bool(facts.get("allow_missing")))}

    def table(self, estimates: Estimates, skipped: Mapping[str, str], facts: Row) -> Table:
        cells = tuple(TableCell(estimate=estimates.get(TASK, {}).get(metric)) for _, metric in COLUMNS)
        judge, _ = judge_of(facts)
        return Table(
            title=self.title,
            columns=tuple((title, TASK if metric == "score" else "") for title, metric in COLUMNS),
            rows=((f"judge {judge or 'none'}", cells),),
            unit=Unit(digits=2),
            counts=self.counts,
            notes=tuple(self.remarks(facts)),
        )

    def remarks(self, facts: Row) -> list[str]:
        """The judge's standing beside the card's own, its calibration, and what its file said otherwise."""
        found = [str(facts[name]) for name in ("remark", "calibration") if facts.get(name)]
        return found + [str(line) for line in facts.get("recorded", ())]

    def assumed(self, values: Mapping[str, Any]) -> Row:
        judge = str(values["judge"])
        named = judge if ":" in judge or judge == "embedded" or Path(judge).is_dir() else f"openai:{judge}"
        own: Row = {name: values[name] for name in ("fastchat_regex", "allow_missing")}
        own |= {"judge": named, "system": str(values["system"] or ""), "judge_base_url": values["judge_base_url"]}
        if (references := str(values["references"])) != "gpt-4":
            folder = data_dir()
            if folder is None:
                raise UsageError(
                    f"--references {references}: set CODECARD_DATA to a folder with "
                    f"mt_bench/reference_answer/{references}.jsonl"
                )
            own["references"] = str(folder / "mt_bench" / "reference_answer" / f"{references}.jsonl")
        return {"dtype": values["dtype"], "set": {self.name: own}}

    def old_facts(self, manifest: Row) -> Row:
        own, judge = manifest.get(self.name) or {}, manifest.get("judge")
        parts: Row = {"identity": {"stops": own["stops"]}, "asking": {"system": own.get("system", "")}} if own else {}
        if isinstance(judge, dict):
            kept = ("name", "references", "hashes", "parser", "identity")
            parts["comparable"] = {"judge": {name: judge[name] for name in kept if name in judge}}
            parts["noted"] = {"remark": judge.get("remark", "")}
        return parts

    def outcome_remarks(self, outcomes: Iterable[Outcome], facts: Row) -> list[str]:
        """Which ratings are missing, and why: what cannot be judged is no random part."""
        reasons: dict[str, list[str]] = {}
        total = 0
        for outcome in outcomes:
            for turn in outcome.facts.get("turns", ()):
                total += 1
                if turn["rating"] is None:
                    reasons.setdefault(turn["void"], []).append(f"{outcome.problem}/{turn['turn']}")
        if not reasons:
            return []
        means = "scored without them" if facts.get("allow_missing") else "no score (--allow-missing scores the rest)"
        detail = "; ".join(f"{reason}: {', '.join(places)}" for reason, places in reasons.items())
        return [f"{sum(map(len, reasons.values()))} of {total} ratings missing, {means}: {detail}"]


def judge_of(facts: Row) -> tuple[str, str]:
    """The judge's name, and why its ratings cannot stand beside the card's (empty where they can)."""
    judge = facts.get("judge")
    name = judge.get("name") if isinstance(judge, dict) else judge
    return str(name or ""), str(facts.get("remark") or "")


class MtBenchSession(Session):
    """The questions with an open judge. `answers`: given from outside, not asked for."""

    judges_parts = True

    def __init__(
        self, suite: MtBench, setting: Setting, options: MtBenchOptions, answers: Answers | None = None
    ) -> None:
        super().__init__(suite, suite.asking(setting, options), options)
        self.data: MtBenchData = open_data(setting.data_dir, Path(options.references) if options.references else None)
        self._problems = list(self.data.problems)
        self.parse = rating_parser(self.data, as_fastchat=options.fastchat_regex)
        self._folder = setting.folder
        self._answers = answers
        self.judge: Judge | None = None
        if options.judge:
            self.judge = open_judge(
                options.judge, self.data, base_url=options.judge_base_url, max_new_tokens=options.judge_max_new_tokens
            )

    def close(self) -> None:
        if self.judge is not None:
            self.judge.close()

    def problems(self) -> list[Problem]:
        return self._problems

    def given(self) -> list[Work]:
        return [] if self._answers is None else [given_work(p, self._answers.get(p.id, ())) for p in self._problems]

    # ------------------------------------------------------------ what the folder keeps

    def describe(self) -> Facts:
        comparable: Row = {}
        noted: Row = {}
        if self.judge is not None:
            comparable = {"judge": self.describe_judge(self.judge.name) | {"identity": self.judge.identity}}
            noted = {"remark": self.remark(self.judge.name, self.judge.recognised)}
            noted |= {"calibration": calibration_line(self.judge)}
        return Facts(
            data={TASK: self.data.hashes["questions"]},
            identity={"stops": list(self.data.definition.answer_stops)},
            comparable=comparable,
            noted=noted,
        )

    def describe_judge(self, name: str) -> Row:
        return {
            "name": name,
            "references": self.data.references,
            "hashes": dict(self.data.hashes),
            "parser": "reference" if self.options.fastchat_regex else "strict",
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

    # ------------------------------------------------------------ answers

    def request(self, problem: Problem, sample: int, history: Sequence[Completion]) -> GenerationRequest | None:
        if len(history) >= len(TURNS):
            return None
        messages = [Message(role="system", content=self.options.system)] if self.options.system else []
        messages.append(Message(role="user", content=problem.prompt))
        for completion, later in zip(history, problem.turns, strict=False):
            messages.append(Message(role="assistant", content=self._clean(completion)))
            messages.append(Message(role="user", content=later))
        stops = self.data.definition.answer_stops
        return request_of(self.asking, problem, sample, messages, stops=stops, turn=len(history) + 1)

    def _clean(self, completion: Completion) -> str:
        """As the judge and the second turn see it."""
        return clean_answer(completion.text, self.data.definition.answer_stops)

    def answers(self, work: Work) -> tuple[str, ...]:
        return tuple(self._clean(turn) for turn in work.history)

    # ------------------------------------------------------------ judgments

    def key(self, work: Work) -> str:
        judge = None if self.judge is None else self.judge.identity
        prompts = [[prompt.system, prompt.user] for prompt in self._prompts(work)]
        return content_key([judge, self.options.fastchat_regex, prompts])

    def _prompts(self, work: Work) -> list[JudgePrompt]:
        """The judge's prompt of every answer that is there, and no failure that FastChat wrote as an answer."""
        answers = self.answers(work)
        whole = [turn for turn in TURNS if len(answers) >= turn and ANSWER_ERROR not in answers[:turn]]
        return [self.data.judge_prompt(work.problem, answers[:turn], turn) for turn in whole]

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """All answers first, for the judge may be the same server; then an outcome a question."""
        asked = list(works)
        judged: dict[tuple[str, int], Row] = {}
        for row in self._judgments([prompt for work in asked for prompt in self._prompts(work)]):
            judged[row["problem"], row["turn"]] = row
        for work in asked:
            yield self.outcome(work, judged)

    def _judgments(self, prompts: Sequence[JudgePrompt]) -> Iterator[Row]:
        """A journal row a prompt; only what no row of the folder's journal holds yet is asked."""
        if self.judge is None:
            return
        path = None if self._folder is None else self._folder / JUDGMENTS
        before = list(read_journal(path)) if path is not None else []
        with contextlib.nullcontext() if path is None else Journal(path) as journal:
            for row, new in rate(self.judge, prompts, before, self.parse, self.options.judge_attempts):
                if new and journal is not None:
                    journal.append(row)
                yield row

    def outcome(self, work: Work, judged: Mapping[tuple[str, int], Row]) -> Outcome:
        """One question; `turns` holds all that a reader needs to check its ratings."""
        answers, problem = self.answers(work), work.problem
        questions = (problem.prompt, *problem.turns)
        turns: list[Row] = []
        blamed: list[str] = []
        for turn in TURNS:
            row = judged.get((problem.id, turn))
            who, void = ("", "") if row and row["rating"] is not None else self._missing(work, turn, answers, row)
            blamed += [who] if void else []
            turns.append(
                {
                    "turn": turn,
                    "question": questions[turn - 1],
                    "answer": answers[turn - 1] if len(answers) >= turn else None,
                    "judgment": row["judgment"] if row else None,
                    "rating": row["rating"] if row else None,
                    "void": void,
                }
            )
        ratings = [turn["rating"] for turn in turns if turn["rating"] is not None]
        why = "; ".join(f"turn {turn['turn']}: {turn['void']}" for turn in turns if turn["void"])
        return work.outcome(
            "void" if blamed else "rated",
            None if blamed else sum(ratings) / len(ratings),
            self.key(work),
            void=Void(who=blamed[0], why=why) if blamed else None,
            graded=True,
            judge=self.judge_name,
            turns=turns,
        )

    @property
    def judge_name(self) -> str:
        return self.judge.name if self.judge is not None else ""

    def _missing(self, work: Work, turn: int, answers: tuple[str, ...], row: Row | None) -> tuple[str, str]:
        """(who, why) of a turn without a rating."""
        if len(answers) < turn:
            who, why = work.failure or ("missing", "no answer came")
            return who, f"turn {len(answers) + 1} not answered: {why}"
        if ANSWER_ERROR in answers[:turn]:
            return "generator", f"FastChat recorded a failure ({ANSWER_ERROR}) as the answer"
        if self.judge is None:
            return NOBODY, f"no judge was named (--judge openai:{self.data.definition.reported_judge})"
        return "judge", str(row["void"]) if row else "not judged"


def given_work(problem: Problem, answers: Sequence[str]) -> Work:
    """A sample of answers made elsewhere, one a turn."""
    turns = [
        Completion(task=problem.task, problem=problem.id, sample=0, text=text, turn=turn, style=PromptStyle.CHAT)
        for turn, text in enumerate(answers, 1)
    ]
    return Work(problem=problem, sample=0, history=tuple(turns))
