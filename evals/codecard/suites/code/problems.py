"""Problems of the code suites, and the rule that makes a program of a completion.

Source of the rules: bigcode-evaluation-harness 974c7ed1, bigcode_eval/tasks/multiple.py: the prompt is stripped, the
completion is cut at the earliest stop token, and the program is prompt + completion + newline + tests.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from codecard.answers.code import chat_program
from codecard.answers.cutting import truncate
from codecard.files import Row, read_jsonl
from codecard.languages import find_language
from codecard.model import Completion, Problem, Program, PromptStyle, Tests, UsageError, cluster_of
from codecard.suites.code.definitions import CodeOptions, CodeTask


def load_problems(task: CodeTask, revision: str, data_dir: Path | None) -> tuple[list[Problem], str]:
    """All problems of a task in data-set order, and the hash of their rows.

    Raises UsageError when there are no data, when their number is wrong, or when a row does not fit.
    """
    rows, where = _rows(task, revision, data_dir)
    if task.count is not None and len(rows) != task.count:
        raise UsageError(f"{where}: {len(rows)} problems, but {task.task} has {task.count}")
    canonical = json.dumps(rows, sort_keys=True, ensure_ascii=False)
    problems = [_problem(task, row, f"{where} row {i}") for i, row in enumerate(rows, 1)]
    names = [p.id for p in problems]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"{where}: problem {twice} occurs twice")
    return problems, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _rows(task: CodeTask, revision: str, data_dir: Path | None) -> tuple[list[Row], str]:
    path = task.folder / task.file
    if path.is_file():
        return read_jsonl(path), str(path)
    if data_dir is not None:
        path = data_dir / task.file
        if not path.is_file():
            raise UsageError(f"no {task.file} in {data_dir}; lay the folder out as CODECARD_DATA expects it")
        return read_jsonl(path), str(path)
    if not task.hub_path:
        raise UsageError(f"no data for {task.task}: there is no {path}")
    return _hub_rows(task, revision), f"{task.hub_path} {task.hub_config}@{revision[:8]}"


def _hub_rows(task: CodeTask, revision: str) -> list[Row]:
    remedy = f"set CODECARD_DATA to a folder with {task.file}"
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"no data for {task.task}: {remedy}, or install the Hub loader: pip install 'codecard[hub]'"
        ) from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are told in one line below
    try:
        loaded = datasets.load_dataset(
            task.hub_path, task.hub_config or None, split=task.hub_split, revision=revision or None
        )
    except Exception as error:  # the Hub's client raises many kinds; all mean "no data"
        cause = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UsageError(f"no data for {task.task}: the Hub could not be read ({cause}); {remedy}") from None
    fields = ("name", "language", "prompt", "tests", "stop_tokens")
    return [{k: row[k] for k in fields if k in row} for row in loaded]


def _problem(task: CodeTask, row: Row, where: str) -> Problem:
    missing = [k for k in ("name", "prompt", "tests") if not isinstance(row.get(k), str)]
    if missing:
        raise UsageError(f"{where}: no text in field {missing[0]!r}")
    own = () if task.stop_tokens is None else task.stop_tokens
    stops = row.get("stop_tokens", list(own))
    if isinstance(stops, str):  # the Hub stores the list as JSON text
        stops = json.loads(stops)
    if task.stop_tokens is None:
        own = tuple(stops)
    elif [s for s in stops if s not in task.tolerated_stop_tokens] != list(own):
        raise UsageError(f"{where}: stop tokens {stops}, but {task.task} has {list(own)}")
    return Problem(
        task=task.task,
        id=row["name"],
        cluster=cluster_of(row["name"]),
        prompt=row["prompt"].strip(),
        checker=Tests(language=task.language.name, source=row["tests"]),
        stop_tokens=own,
    )


def stops_of(problem: Problem, options: CodeOptions) -> tuple[str, ...]:
    return problem.stop_tokens + options.extra_stop_tokens


def assemble(problem: Problem, completion: Completion, options: CodeOptions) -> Program:
    """The program that is executed for a completion."""
    checker = problem.checker
    assert isinstance(checker, Tests)
    stops = stops_of(problem, options)
    if completion.style is PromptStyle.CHAT:
        source = chat_program(problem.prompt, completion.text, checker.source, checker.language, stops)
    else:
        source = f"{problem.prompt}{truncate(completion.text, stops)}\n{checker.source}"
    return program_of(problem, source, options)


def program_of(problem: Problem, source: str, options: CodeOptions) -> Program:
    """A whole program as it stands; where it ends with the problem's tests, the proof's place is known."""
    checker = problem.checker
    assert isinstance(checker, Tests)
    language = find_language(checker.language)
    known = bool(checker.source) and source.endswith(checker.source)
    return Program(
        language=checker.language,
        source=source,
        proof_at=language.proof.offset(source) if known else None,
        options=tuple(name for name in options.variants if name in language.toolchain.variants),
    )
