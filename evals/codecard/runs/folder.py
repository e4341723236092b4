"""A run's folder: the manifest, the plan problem by problem, the journals.

Other tools read it: its names are a contract.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from codecard.files import Row, read_json, write_json, write_lines
from codecard.journal import Journal, read_journal
from codecard.model import (
    Choices,
    Completion,
    FinishReason,
    Outcome,
    Problem,
    PromptStyle,
    Rubric,
    SampleId,
    Tests,
    UsageError,
    Void,
)
from codecard.runs.manifest import Manifest, Role

MANIFEST, COMPLETIONS, EXECUTIONS = "manifest.json", "completions.jsonl", "executions.jsonl"
PROBLEMS, SCORES, STAGES, TABLES = "problems.jsonl", "scores.json", "stages.jsonl", "tables.md"
ProblemId = tuple[str, str]


class RunFolder:
    """A run opened for writing. One process at a time; a second one is refused.

    `manifest` says what is asked now. What the folder holds must share its identity; plans are united, so that the
    folder's plan is all that was ever asked of it. `planned` holds a row a problem, with the samples that are planned.
    """

    def __init__(self, path: Path, manifest: Manifest, planned: Iterable[Row]) -> None:
        self.path = path
        make_folder(path)
        self._lock = _lock(path)
        try:
            if (path / MANIFEST).exists():
                before = read_manifest(path)
                _check_identity(path, before, manifest)
                manifest = before.united(manifest)
            self.manifest = manifest
            self.problems = united_problems(read_problems(path).values(), planned)
            # the plan first: a command that was cut off here leaves a folder that says so
            write_lines(path / PROBLEMS, self.problems.values())
            write_json(path / MANIFEST, manifest.row())
            self.completions = Journal(path / COMPLETIONS)
            self.executions = Journal(path / EXECUTIONS)
            self.stages = Journal(path / STAGES)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self.completions.close()
        self.executions.close()
        self.stages.close()
        os.close(self._lock)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Made where it is missing, and this process's alone meanwhile."""
    make_folder(path)
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {os.strerror(error.errno or 0)}") from None


def _lock(path: Path) -> int:
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UsageError(f"{path} is in use by another codecard; wait for it or choose another --out") from None
    return lock


def _check_identity(path: Path, before: Manifest, now: Manifest) -> None:
    now = Manifest.read(json.loads(json.dumps(now.row())))
    found = before.conflict(now, Role.IDENTITY)
    if found is not None:
        field, old, new = found
        if field == "recipe":
            raise UsageError(
                f"{path} holds {'a model’s' if old else 'no model’s'} completions, and these are "
                f"{'a model’s' if new else 'made elsewhere'}; choose another --out"
            )
        raise UsageError(
            f"{path} holds a run with another {field} ({brief(old)}; now {brief(new)}); choose another --out"
        )


def brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:30]}…{text[-25:]}"


# ---------------------------------------------------------------- the plan, problem by problem


def problem_row(problem: Problem, samples: int, *, outside: bool = False, whole: int | None = None) -> Row:
    """A row of problems.jsonl. `samples` are planned of it here; `whole` in the run that this is a shard of."""
    checker = problem.checker
    own: Row = {"turns": list(problem.turns)} if problem.turns else {}
    if isinstance(checker, Rubric):
        own["references"] = list(checker.references)
    elif isinstance(checker, Choices):
        own["choices"] = list(checker.choices)
    return {
        "task": problem.task,
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "tests": checker.source if isinstance(checker, Tests) else "",
        **own,
        "samples": samples,
        **({"whole": whole} if whole is not None and whole != samples else {}),
        **({"outside": True} if outside else {}),
    }


def united_problems(*plans: Iterable[Row]) -> dict[ProblemId, Row]:
    """All problems of the plans, each with the most samples that any plan has of it."""
    found: dict[ProblemId, Row] = {}
    for plan in plans:
        for row in plan:
            key = (row["task"], row["problem"])
            before = found.get(key, {})
            samples = max(row.get("samples", 0), before.get("samples", 0))
            whole = max(row.get("whole", 0), before.get("whole", 0), samples)
            united = {**before, **row, "samples": samples}
            united.pop("whole", None)
            found[key] = united | ({"whole": whole} if whole > samples else {})
    return found


# ---------------------------------------------------------------- reading


def read_manifest(run: Path) -> Manifest:
    raw = read_json(run / MANIFEST, "a run folder")
    try:
        return Manifest.read(raw)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise UsageError(f"{run / MANIFEST}: not a run's manifest ({error})") from None


def read_problems(run: Path) -> dict[ProblemId, Row]:
    """The plan by problem. In folders of version 0.1 the manifest says how many samples of each are planned."""
    rows = read_journal(run / PROBLEMS, ("task",))
    found = {(str(row["task"]), str(row.get("problem", row.get("id")))): row for row in rows}
    if any("samples" not in row for row in found.values()):
        manifest = read_manifest(run)
        planned = manifest.samples if manifest.recipe is not None else 0
        found = {key: {"samples": planned or 0, "problem": key[1]} | row for key, row in found.items()}
    return found


def row_id(row: Row) -> SampleId:
    return (row["task"], row["problem"], row["sample"])


def read_completions(run: Path) -> dict[SampleId, tuple[Completion, ...]]:
    """Each sample's turns, in their order."""
    path = run / COMPLETIONS
    found: dict[SampleId, dict[int, Completion]] = {}
    for row in read_journal(path, ("task", "problem", "sample")):
        if not isinstance(row.get("answer", row.get("completion")), str):
            raise UsageError(f"{path}: {row['task']} {row['problem']}: no text in 'completion'")
        completion = completion_of(row)
        found.setdefault(completion.id, {})[completion.turn] = completion
    return {key: tuple(turns[turn] for turn in sorted(turns)) for key, turns in found.items()}


def read_outcomes(run: Path) -> dict[SampleId, Outcome]:
    """The last outcome of each sample: a void one that was made again is superseded."""
    rows = read_journal(run / EXECUTIONS, ("task", "problem", "sample"))
    return {row_id(row): outcome_of(row) for row in rows}


# ---------------------------------------------------------------- rows


def completion_row(completion: Completion) -> Row:
    key = "answer" if completion.style is PromptStyle.CHAT else "completion"
    return {
        "task": completion.task,
        "problem": completion.problem,
        "sample": completion.sample,
        **({"turn": completion.turn} if completion.turn > 1 else {}),
        key: completion.text,
        "finish_reason": completion.finish_reason.value,
        "prompt_tokens": completion.prompt_tokens,
        "new_tokens": completion.new_tokens,
        "seconds": completion.seconds,
    }


def completion_of(row: Row) -> Completion:
    chat = "answer" in row
    return Completion(
        task=row["task"],
        problem=row["problem"],
        sample=row["sample"],
        turn=row.get("turn", 1),
        text=row["answer" if chat else "completion"],
        style=PromptStyle.CHAT if chat else PromptStyle.RAW,
        finish_reason=FinishReason(row.get("finish_reason", "unknown")),
        prompt_tokens=row.get("prompt_tokens"),
        new_tokens=row.get("new_tokens"),
        seconds=row.get("seconds"),
    )


_OWN = ("task", "problem", "sample", "verdict", "passed", "value", "void", "void_by", "key")


def outcome_row(outcome: Outcome) -> Row:
    """`passed` for what passes or fails, `value` for ratings and shares; `void` is the reason, `void_by` who failed."""
    graded = outcome.graded
    return {
        "task": outcome.task,
        "problem": outcome.problem,
        "sample": outcome.sample,
        "verdict": outcome.verdict,
        "passed": None if graded or outcome.value is None else outcome.value == 1,
        **({"value": outcome.value} if graded else {}),
        "void": outcome.void.why if outcome.void else "",
        **({"void_by": outcome.void.who} if outcome.void else {}),
        **outcome.facts,
        "key": outcome.key,
    }


def outcome_of(row: Row) -> Outcome:
    """A row of this version or of 0.1, which did not say who failed (`who` is empty)."""
    value = row.get("value", row.get("passed"))
    if value is None:
        why = str(row.get("void") or row.get("reason") or "void")
        void: Void | None = Void(who=str(row.get("void_by") or ""), why=why)
    else:
        void = None
    return Outcome(
        task=row["task"],
        problem=row["problem"],
        sample=row["sample"],
        verdict=str(row.get("verdict") or ""),
        value=None if value is None else float(value),
        void=void,
        key=str(row.get("key") or ""),
        graded="value" in row,
        facts={name: found for name, found in row.items() if name not in _OWN},
    )
