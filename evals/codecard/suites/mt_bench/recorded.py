"""MT-Bench judgments made elsewhere: scored as they are recorded, never from the recorded numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from codecard.files import Row
from codecard.journal import Journal, read_journal
from codecard.model import Outcome, UsageError, content_key
from codecard.suites.mt_bench.data import TURNS, JudgePrompt, MtBenchData
from codecard.suites.mt_bench.fastchat import API_ERROR, Answers, RecordedJudgment, Recording, read_judgments, recording
from codecard.suites.mt_bench.journal import judged_row
from codecard.suites.mt_bench.ratings import JUDGMENTS
from codecard.suites.mt_bench.suite import MtBenchSession, given_work
from codecard.suites.suite import Facts, Setting, Work

if TYPE_CHECKING:
    from codecard.suites.mt_bench.suite import MtBench, MtBenchOptions

NOT_THERE = "the file holds no judgment"


class RecordedSession(MtBenchSession):
    """One model's recorded judgments by one judge.

    `UsageError` where a turn has no judgment (unless missing ones are allowed), or where the two turns of a
    question were judged on different first answers, for then they are not of one run.
    """

    def __init__(self, suite: MtBench, setting: Setting, options: MtBenchOptions, file: Path) -> None:
        super().__init__(suite, setting, options.model_copy(update={"judge": None}))
        rows = read_judgments(file, self.data)
        self._recorded = recording(rows, file, options.judged_model, options.judge)
        self.label = self._recorded.model
        self._said: list[str] = []
        self._check_whole(self._recorded)
        self._answers = self._from_prompts(self._recorded)
        self._rows = {place: self._row(judgment) for place, judgment in self._recorded.judgments.items()}
        differing = [
            f"{judgment.problem}/{judgment.turn}"
            for judgment, row in zip(self._recorded.judgments.values(), self._rows.values(), strict=True)
            if judgment.score != (-1 if row["rating"] is None else row["rating"])
        ]
        if differing:
            self._said.append(f"{len(differing)} recorded scores are not what the text says: {', '.join(differing)}")

    def describe(self) -> Facts:
        found = super().describe()
        judge = self._recorded.judge
        return Facts(
            data=found.data,
            identity={**found.identity, "answers_of": self.label},
            comparable={"judge": self.describe_judge(judge)},
            noted={"remark": self.remark(judge, recognised=True), "recorded": self._said},
        )

    def given(self) -> list[Work]:
        return [given_work(problem, (self._answers or {}).get(problem.id, ())) for problem in self.problems()]

    def key(self, work: Work) -> str:
        rows = [self._rows.get((work.problem.id, turn), {}).get("key") for turn in TURNS]
        return content_key([self.options.fastchat_regex, rows, self.answers(work)])

    @property
    def judge_name(self) -> str:
        return self._recorded.judge

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        if self._folder is not None:
            have = {row["key"] for row in read_journal(self._folder / JUDGMENTS)}
            with Journal(self._folder / JUDGMENTS) as journal:
                for row in self._rows.values():
                    if row["key"] not in have:
                        journal.append(row)
        for work in works:
            yield self.outcome(work, self._rows)

    def _missing(self, work: Work, turn: int, answers: tuple[str, ...], row: Row | None) -> tuple[str, str]:
        return ("judge", str(row["void"])) if row else ("missing", NOT_THERE)

    def _check_whole(self, recorded: Recording) -> None:
        places = [(problem.id, turn) for problem in self.problems() for turn in TURNS]
        missing = [place for place in places if place not in recorded.judgments]
        if missing and not self.options.allow_missing:
            named = ", ".join(f"{name}/{turn}" for name, turn in missing)
            raise UsageError(
                f"{recorded.model}: {len(missing)} of {len(places)} judgments missing (question/turn {named}); "
                "--allow-missing scores the rest"
            )

    def _from_prompts(self, recorded: Recording) -> Answers:
        """The answers out of the recorded prompts, so that they can be read beside their judgments."""
        found: Answers = {}
        strange = []
        for problem in self.problems():
            turns: tuple[str, ...] = ()
            for turn in TURNS:
                judgment = recorded.judgments.get((problem.id, turn))
                if judgment is None:
                    break
                given = self.data.answers_in(problem, turn, judgment.user_prompt)
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
            self._said.append(f"prompts that are not FastChat's with these references: {', '.join(strange)}")
        return found

    def _row(self, judgment: RecordedJudgment) -> Row:
        failed = judgment.text == API_ERROR
        text, rating = (None, None) if failed else (judgment.text, self.parse(judgment.text))
        why = "the judge's endpoint failed" if failed else "no rating in the judge's text"
        prompt = recorded_prompt(self.data, judgment)
        return judged_row(prompt, judgment.judge, content_key(asdict(judgment)), text, rating, why)


def recorded_prompt(data: MtBenchData, judgment: RecordedJudgment) -> JudgePrompt:
    return JudgePrompt(
        problem=judgment.problem,
        turn=judgment.turn,
        name=judgment.form,
        system=data.forms[judgment.form]["system_prompt"],
        user=judgment.user_prompt,
    )
