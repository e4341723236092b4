"""Completions made elsewhere: codecard's own JSONL and the formats of the field's other harnesses.

Each file becomes `Imported` rows; what they refer to is checked against the problems by `match`. Formats:

- codecard JSONL: `task, problem, sample`, and one of `completion`, `answer` (a chat answer), `program` (run as it
  stands; a `completion` beside it is kept but not used);
- bigcode-evaluation-harness `generations.json`: a list per problem in data-set order, prompt included
  (`bigcode_eval/evaluator.py`, `--save_generations`);
- MultiPL-E result files `.json` / `.json.gz`: `name, language, prompt, tests, completions` (one file per problem)
  or their `.results.json.gz` with `results[].program`;
- evalplus JSONL: `task_id` with `completion` or `solution`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.files import numbered_rows, read_bytes
from codecard.languages import language_names
from codecard.model import Completion, Problem, PromptStyle, SampleId, Tests, UsageError, cluster_of, suite_of
from codecard.suites.suite import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A sample and where it stood. `position` replaces `problem` where a format counts instead of naming."""

    where: str
    task: str
    problem: str
    sample: int
    text: str
    style: PromptStyle = PromptStyle.RAW
    program: str | None = None
    position: int | None = None
    whole: bool = False
    """`text` begins with the prompt."""
    label: str = ""
    """The row's own `id`; rows that have one may repeat a sample number, and are then numbered on."""


def read_completion_file(path: Path, suite: str, language: str | None = None) -> list[Imported]:
    """Rows of one file, whatever its format. Raises UsageError with file and line.

    `language` (or `multiple-<language>` / `.<language>.` in the file's name) names the task where the format
    does not.
    """
    folder = path.is_dir()  # a run's, which may hold other suites' completions, too
    if folder:
        path = path / "completions.jsonl"
    suffixes = path.suffixes[-2:]
    if suffixes[-1:] == [".jsonl"]:
        return [
            _jsonl_row(row, path, number, suite, language)
            for number, row in numbered_rows(read_bytes(path), path)
            if not folder or suite_of(str(row.get("task"))) == suite
        ]
    if suffixes[-1:] == [".json"] or suffixes == [".json", ".gz"]:
        return _json(path, suite, language)
    raise UsageError(f"{path}: unknown kind of file; expected .jsonl, .json or .json.gz")


def _jsonl_row(row: dict[str, Any], path: Path, number: int, suite: str, language: str | None) -> Imported:
    where = f"{path}:{number}"
    if "task_id" in row:
        return _evalplus_row(row, where, suite, language or _language_in(path.name) or "py")
    for key, kind in (("task", str), ("problem", str)):
        if not isinstance(row.get(key), kind):
            raise UsageError(f"{where}: no text in field {key!r}")
    sample = row.get("sample", 0)
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
        raise UsageError(f"{where}: sample is {sample!r}, expected a number from 0")
    found = [k for k in ("completion", "answer", "program") if row.get(k) is not None]
    if not found:
        raise UsageError(f"{where}: none of completion, answer, program")
    for key in found:
        if not isinstance(row[key], str):
            raise UsageError(f"{where}: {key} is not text")
    if row["task"].split("/")[0] != suite:
        raise UsageError(f"{where}: task {row['task']!r} is not of suite {suite!r}")
    return Imported(
        where=where,
        task=row["task"],
        problem=row["problem"],
        sample=sample,
        text=row.get("completion") or row.get("answer") or "",
        style=PromptStyle.CHAT if "answer" in found and "completion" not in found else PromptStyle.RAW,
        program=row.get("program"),
        label=str(row.get("id") or ""),
    )


def _evalplus_row(row: dict[str, Any], where: str, suite: str, language: str) -> Imported:
    """evalplus names problems `HumanEval/23`; `solution` is a whole function, `completion` follows the prompt."""
    solution = row.get("solution")
    text = solution if solution is not None else row.get("completion")
    if not isinstance(text, str) or not isinstance(row["task_id"], str):
        raise UsageError(f"{where}: no text in completion or solution")
    return Imported(
        where=where,
        task=f"{suite}/{language}",
        problem=row["task_id"].replace("/", "_"),
        sample=row.get("sample", -1),
        text=f"```\n{text}\n```" if solution is not None else text,
        style=PromptStyle.CHAT if solution is not None else PromptStyle.RAW,
    )


def _json(path: Path, suite: str, language: str | None) -> list[Imported]:
    try:
        value = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON, or cut off ({error})") from None
    if isinstance(value, list):
        return _bigcode(value, path, suite, language)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return _multipl_e(value, path, suite, language)
    raise UsageError(f"{path}: neither bigcode-evaluation-harness generations nor a MultiPL-E result file")


def _bigcode(value: list[Any], path: Path, suite: str, language: str | None) -> list[Imported]:
    language = language or _language_in(path.name)
    if language is None:
        raise UsageError(f"{path}: the format does not name the language; pass --languages with one")
    rows: list[Imported] = []
    for position, samples in enumerate(value):
        if not isinstance(samples, list) or not all(isinstance(s, str) for s in samples):
            raise UsageError(f"{path}: entry {position} is not a list of texts")
        rows += [
            Imported(where=f"{path} entry {position}", task=f"{suite}/{language}", problem="", sample=index,
                     text=text, position=position, whole=True)
            for index, text in enumerate(samples)
        ]  # fmt: skip
    return rows


def _multipl_e(value: dict[str, Any], path: Path, suite: str, language: str | None) -> list[Imported]:
    language = language or value.get("language") or _language_in(path.name)
    if language not in language_names():
        raise UsageError(f"{path}: language {language!r} is not one of {', '.join(language_names())}")
    common = {"task": f"{suite}/{language}", "problem": value["name"]}
    texts, results = value.get("completions"), value.get("results")
    if isinstance(texts, list) and all(isinstance(t, str) for t in texts):
        return [Imported(where=f"{path} completion {i}", sample=i, text=t, **common) for i, t in enumerate(texts)]
    if isinstance(results, list) and all(isinstance(r, dict) and isinstance(r.get("program"), str) for r in results):
        return [
            Imported(where=f"{path} result {i}", sample=i, text="", program=r["program"], **common)
            for i, r in enumerate(results)
        ]
    raise UsageError(f"{path}: neither completions nor results with programs")


def _language_in(name: str) -> str | None:
    """`generations_multiple-cpp.json`, `chat.cpp.jsonl`, `humaneval-cpp-model.json.gz` → `cpp`."""
    found = [p for p in re.split(r"[^a-z]+", name.lower()) if p in language_names()]
    return found[0] if found else None


def match(rows: Iterable[Imported], problems: list[Problem]) -> list[Work]:
    """Each row with its problem. Raises UsageError for one that does not exist or a sample that occurs twice.

    A whole program runs as it stands, so one of a problem that the suite lacks is kept, marked `outside`.
    """
    finder = _Finder(problems)
    seen: dict[SampleId, str] = {}
    counted: dict[tuple[str, str], int] = {}
    result = []
    for row in rows:
        problem, outside = finder.problem_of(row)
        this = (problem.task, problem.id)
        sample = row.sample
        if sample < 0 or (row.label and (*this, sample) in seen):
            sample = counted.get(this, 0)
        counted[this] = max(counted.get(this, 0), sample + 1)
        if (*this, sample) in seen:
            raise UsageError(f"{row.where}: {' '.join(this)} sample {sample} is already at {seen[*this, sample]}")
        seen[*this, sample] = row.where
        completion = Completion(
            task=problem.task, problem=problem.id, sample=sample, text=_without_prompt(row, problem), style=row.style
        )
        result.append(
            Work(
                problem=problem,
                sample=sample,
                history=(completion,),
                source=row.program,
                label=row.label,
                outside=outside,
            )
        )
    return result


class _Finder:
    """Problems by task and id, by cluster (`HumanEval_23`), and by position."""

    def __init__(self, problems: list[Problem]) -> None:
        self._by_id = {(p.task, p.id): p for p in problems}
        self._by_cluster = {(p.task, p.cluster): p for p in problems}
        self._in_order: dict[str, list[Problem]] = {}
        for problem in problems:
            self._in_order.setdefault(problem.task, []).append(problem)

    def problem_of(self, row: Imported) -> tuple[Problem, bool]:
        if row.task not in self._in_order:
            raise UsageError(f"{row.where}: no task {row.task!r}; there are {', '.join(self._in_order)}")
        in_order = self._in_order[row.task]
        if row.position is not None:
            if row.position >= len(in_order):
                raise UsageError(f"{row.where}: {row.task} has only {len(in_order)} problems")
            return in_order[row.position], False
        found = self._by_id.get((row.task, row.problem)) or self._by_cluster.get((row.task, row.problem))
        if found is not None:
            return found, False
        if row.program is None:
            near = difflib.get_close_matches(row.problem, [p.id for p in in_order], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{row.where}: {row.task} has no problem {row.problem!r}{hint}")
        checker = in_order[0].checker
        assert isinstance(checker, Tests)
        stranger = Problem(
            task=row.task,
            id=row.problem,
            cluster=cluster_of(row.problem),
            prompt="",
            checker=Tests(language=checker.language, source=""),
        )
        return stranger, True


def _without_prompt(row: Imported, problem: Problem) -> str:
    if not row.whole:
        return row.text
    if not row.text.startswith(problem.prompt):
        raise UsageError(f"{row.where}: does not begin with the prompt of {problem.id}; another data set or order?")
    return row.text[len(problem.prompt) :]
