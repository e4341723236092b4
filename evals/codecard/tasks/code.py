"""Problems of the code suites, and the rule that makes a program of a completion.

Source of the rules: bigcode-evaluation-harness 974c7ed1, bigcode_eval/tasks/multiple.py: the prompt is stripped, the
completion is cut at the earliest stop token, and the program is prompt + completion + newline + tests.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from codecard.model import Completion, Problem, Program, PromptStyle, Tests, UsageError
from codecard.tasks.cutting import truncate
from codecard.tasks.definitions import CodeTask, Profile
from codecard.tasks.extraction import chat_program
from codecard.tasks.paths import tasks_dir

JAVATUPLES = "javatuples"
"""Program option: the javatuples jar is on the run's class path."""


def load_problems(task: CodeTask, profile: Profile, data_dir: Path | None) -> tuple[list[Problem], str]:
    """All problems of a task in data-set order, and the hash of their rows.

    Raises UsageError when there are no data, when their number is wrong, or when a row does not fit.
    """
    rows, where = _rows(task, profile, data_dir)
    if len(rows) != task.count:
        raise UsageError(f"{where}: {len(rows)} problems, but {task.task} has {task.count}")
    canonical = json.dumps(rows, sort_keys=True, ensure_ascii=False)
    problems = [_problem(task, row, f"{where} row {i}") for i, row in enumerate(rows, 1)]
    names = [p.id for p in problems]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"{where}: problem {twice} occurs twice")
    return problems, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _rows(task: CodeTask, profile: Profile, data_dir: Path | None) -> tuple[list[dict[str, Any]], str]:
    if task.suite == "starter":
        path = tasks_dir() / "starter" / task.file
        return read_jsonl(path), str(path)
    if data_dir is not None:
        path = data_dir / task.file
        if not path.is_file():
            raise UsageError(f"no {task.file} in {data_dir}; lay the folder out as CODECARD_DATA expects it")
        return read_jsonl(path), str(path)
    return _hub_rows(task, profile), f"{task.hub_path} {task.hub_config}@{profile.revision[:8]}"


def _hub_rows(task: CodeTask, profile: Profile) -> list[dict[str, Any]]:
    remedy = "set CODECARD_DATA to a folder with multipl_e/humaneval-<language>.jsonl"
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"no data for {task.task}: {remedy}, or install the Hub loader: pip install 'codecard[hub]'"
        ) from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are told in one line below
    try:
        loaded = datasets.load_dataset(task.hub_path, task.hub_config, split=task.hub_split, revision=profile.revision)
    except Exception as error:  # the Hub's client raises many kinds; all mean "no data"
        cause = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UsageError(f"no data for {task.task}: the Hub could not be read ({cause}); {remedy}") from None
    fields = ("name", "language", "prompt", "tests", "stop_tokens")
    return [{k: row[k] for k in fields} for row in loaded]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file. Raises UsageError with file and line."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise UsageError(f"{path}:{number}: not UTF-8") from None
        except json.JSONDecodeError as error:
            torn = " (the file is cut off here)" if number == len(lines) else ""
            raise UsageError(f"{path}:{number}: not JSON: {error.msg}{torn}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}:{number}: not a JSON object")
        rows.append(row)
    return rows


def _problem(task: CodeTask, row: dict[str, Any], where: str) -> Problem:
    missing = [k for k in ("name", "prompt", "tests") if not isinstance(row.get(k), str)]
    if missing:
        raise UsageError(f"{where}: no text in field {missing[0]!r}")
    stops = row.get("stop_tokens", list(task.stop_tokens))
    if isinstance(stops, str):  # the Hub stores the list as JSON text
        stops = json.loads(stops)
    if [s for s in stops if s not in task.tolerated_stop_tokens] != list(task.stop_tokens):
        raise UsageError(f"{where}: stop tokens {stops}, but {task.task} has {list(task.stop_tokens)}")
    return Problem(
        task=task.task,
        id=row["name"],
        cluster=cluster_of(row["name"]),
        prompt=row["prompt"].strip(),
        checker=Tests(language=task.language, source=row["tests"]),
        stop_tokens=task.stop_tokens,
    )


def cluster_of(problem_id: str) -> str:
    """`HumanEval_23_strlen` → `HumanEval_23`: the same question in every language."""
    return "_".join(problem_id.split("_")[:2])


def stops_of(problem: Problem, profile: Profile) -> tuple[str, ...]:
    return problem.stop_tokens + profile.extra_stop_tokens


def assemble(problem: Problem, completion: Completion, profile: Profile) -> Program:
    """The program that is executed for a completion."""
    checker = problem.checker
    assert isinstance(checker, Tests)
    stops = stops_of(problem, profile)
    if completion.style is PromptStyle.CHAT:
        source = chat_program(problem.prompt, completion.text, checker.source, checker.language, stops)
    else:
        source = f"{problem.prompt}{truncate(completion.text, stops)}\n{checker.source}"
    return program_of(problem, source, profile)


def program_of(problem: Problem, source: str, profile: Profile) -> Program:
    """A whole program as it stands; where it ends with the problem's tests, the proof's place is known."""
    checker = problem.checker
    assert isinstance(checker, Tests)
    options = (JAVATUPLES,) if checker.language == "java" and profile.java_runtime_javatuples else ()
    known = bool(checker.source) and source.endswith(checker.source)
    return Program(
        language=checker.language,
        source=source,
        proof_at=_end_of_tests(source, checker.language) if known else None,
        options=options,
    )


def _end_of_tests(source: str, language: str) -> int:
    """Where the last assertion has been passed: the end of the text, or of `main`."""
    if language in ("py", "js", "php"):
        return len(source)
    end = source.rindex("}")
    return source.rindex("}", 0, end) if language == "java" else end
