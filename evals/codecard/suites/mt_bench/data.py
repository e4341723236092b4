"""MT-Bench, category coding: questions, references and the prompts a judge is sent. Reads files, no more.

Every rule is FastChat's at 0e6d3e4b (fastchat/llm_judge); `tasks/mt_bench/coding.toml` pins its files.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.answers.cutting import truncate
from codecard.files import numbered_rows, read_bytes
from codecard.model import Problem, Rubric, Sampling, UsageError, content_key
from codecard.paths import cache_dir, tasks_dir
from codecard.pinned import PinnedFile
from codecard.settings import read_toml

TASK = "mt_bench/coding"
TURNS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MtBench:
    """The definition. `prompts` and `Rubric.references` are in the order of the turns."""

    ids: tuple[str, ...]
    all_ids: range
    answer_sampling: Sampling
    answer_stops: tuple[str, ...]
    judge_sampling: Sampling
    prompts: tuple[str, str]
    reported_judge: str
    same_as_reported: frozenset[str]
    scale: tuple[float, float]
    files: Mapping[str, PinnedFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePrompt:
    """What the judge is sent for one turn of one question: `name` of the form, system and user message."""

    problem: str
    turn: int
    name: str
    system: str
    user: str

    @property
    def key(self) -> str:
        return content_key([self.system, self.user])


@dataclass(frozen=True, slots=True, kw_only=True)
class MtBenchData:
    """The questions asked, and the judge's forms. `references`: what the reference answers are called."""

    definition: MtBench
    problems: tuple[Problem, ...]
    forms: Mapping[str, Mapping[str, str]]
    references: str
    hashes: Mapping[str, str]

    @property
    def original_references(self) -> bool:
        return self.hashes["references"] == self.definition.files["references"].sha256

    def problem(self, name: str) -> Problem:
        return next(problem for problem in self.problems if problem.id == name)

    def judge_prompt(self, problem: Problem, answers: tuple[str, ...], turn: int) -> JudgePrompt:
        """FastChat's prompt, byte for byte. Turn 2 shows the whole dialogue; `answers` are those up to it.

        `run_judge_single`: the form's template, filled by `str.format`; its system prompt as the system
        message. Braces in a question or answer stay what they are, as the values are not read as templates.
        """
        assert isinstance(problem.checker, Rubric)
        name = self.definition.prompts[turn - 1]
        first, second = problem.checker.references
        given = {"ref_answer_1": first, "ref_answer_2": second}
        if turn == 1:
            given |= {"question": problem.prompt, "answer": answers[0]}
        else:
            given |= {"question_1": problem.prompt, "question_2": problem.turns[0]}
            given |= {"answer_1": answers[0], "answer_2": answers[1]}
        form = self.forms[name]
        user = form["prompt_template"].format(**given)
        return JudgePrompt(problem=problem.id, turn=turn, name=name, system=form["system_prompt"], user=user)

    def answers_in(self, problem: Problem, turn: int, user_prompt: str) -> tuple[str, ...] | None:
        """The answers inside a recorded prompt of this question, or None if it is no such prompt.

        The inverse of `judge_prompt`: what surrounds the answers is known, so they are what is left.
        """
        marks = ("\0first\0", "\0second\0")[:turn]
        text = self.judge_prompt(problem, marks, turn).user
        found: list[str] = []
        for mark in marks:
            before, text = text.split(mark)
            if not user_prompt.startswith(before):
                return None
            user_prompt = user_prompt.removeprefix(before)
            between = text.split("\0")[0]
            end = user_prompt.rfind(between) if between else len(user_prompt)
            if end < 0:
                return None
            found.append(user_prompt[:end])
            user_prompt = user_prompt[end:]
        return tuple(found) if user_prompt == text else None


@functools.cache
def definition() -> MtBench:
    raw = read_toml(tasks_dir() / "mt_bench" / "coding.toml")
    answers, judge = raw["answers"], raw["judge"]
    first, last = raw["other_ids"]
    return MtBench(
        ids=tuple(str(number) for number in raw["ids"]),
        all_ids=range(first, last + 1),
        answer_sampling=Sampling(temperature=answers["temperature"], max_new_tokens=answers["max_new_tokens"]),
        answer_stops=tuple(answers["stops"]),
        judge_sampling=Sampling(temperature=judge["temperature"], max_new_tokens=judge["max_new_tokens"]),
        prompts=(judge["prompts"][0], judge["prompts"][1]),
        reported_judge=judge["reported"],
        same_as_reported=frozenset(judge["same_as_reported"]),
        scale=(judge["lowest"], judge["highest"]),
        files={
            name: PinnedFile(path=file["file"], url=file["url"], sha256=file["sha256"])
            for name, file in raw["files"].items()
        },
    )


def load_data(folder: Path, references: Path | None = None) -> MtBenchData:
    """The suite from `folder`, laid out as CODECARD_DATA/mt_bench; each file must have its pinned hash.

    `references` replaces the published reference answers (a file of the same form, e.g. a corrected set): a
    score made with it has another meaning and says so.
    """
    known = definition()
    pins = {name: pin for name, pin in known.files.items() if name != "references" or references is None}
    content = {name: pin.read(folder) for name, pin in pins.items()}
    if references is not None:
        content["references"] = read_bytes(references)
    files = {name: folder / pin.path for name, pin in known.files.items()}
    where = references or files["references"]
    questions = {row["question_id"]: row for row in _rows(content["questions"], files["questions"])}
    forms = {row["name"]: row for row in _rows(content["prompts"], files["prompts"])}
    answers = _references(_rows(content["references"], where), where)
    missing = [name for name in known.ids if name not in answers]
    if missing:
        raise UsageError(f"{where}: no reference answer to question {', '.join(missing)}")
    problems = tuple(_problem(questions[int(name)], answers[name], known) for name in known.ids)
    return MtBenchData(
        definition=known,
        problems=problems,
        forms={name: forms[name] for name in known.prompts},
        references=where.stem,
        hashes={name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    )


def clean_answer(text: str, stops: Iterable[str]) -> str:
    """An answer as the judge and the second turn see it: cut at the first stop string, blanks stripped.

    gen_model_answer.py: the output is cut at the template's stop tokens and stop string, then stripped.
    """
    return truncate(text, stops).strip()


def _problem(row: Mapping[str, Any], references: tuple[str, str], known: MtBench) -> Problem:
    first, *later = row["turns"]
    name = str(row["question_id"])
    return Problem(
        task=TASK,
        id=name,
        cluster=name,
        prompt=first,
        checker=Rubric(references=references),
        stop_tokens=known.answer_stops,
        turns=tuple(later),
    )


def _references(rows: Iterable[dict[str, Any]], where: Path) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        try:
            first, second = row["choices"][0]["turns"]
            name = str(row["question_id"])
        except (KeyError, IndexError, TypeError, ValueError):
            raise UsageError(f"{where}: a row without question_id or two reference turns") from None
        found[name] = (str(first), str(second))
    return found


def _rows(content: bytes, where: Path) -> Iterator[dict[str, Any]]:
    return (row for _, row in numbered_rows(content, where))


def open_data(data_dir: Path | None, references: Path | None = None) -> MtBenchData:
    """The questions from `data_dir`/mt_bench, or from the cache after fetching the pinned files."""
    if data_dir is not None:
        return load_data(data_dir / "mt_bench", references)
    folder = cache_dir() / "mt_bench"
    for file in definition().files.values():
        file.fetch(folder)
    return load_data(folder, references)
