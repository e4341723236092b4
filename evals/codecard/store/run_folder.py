"""A run's folder: the manifest, two journals and the scores. Other tools read it; its names are a contract."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from codecard.model import Completion, FinishReason, PromptStyle, UsageError
from codecard.store.journal import Journal, read_journal

MANIFEST, COMPLETIONS, EXECUTIONS = "manifest.json", "completions.jsonl", "executions.jsonl"
PROBLEMS, SCORES, STAGES = "problems.jsonl", "scores.json", "stages.jsonl"
Row = dict[str, Any]
RowId = tuple[str, str, int]


class RunFolder:
    """A run opened for writing. One process at a time; a second one is refused.

    `identity` is the part of the manifest that a resumed run must share with the first: it is compared field by
    field, and a difference is refused with the field's name.
    """

    def __init__(self, path: Path, manifest: Row, identity: tuple[str, ...]) -> None:
        self.path = path
        _make(path)
        self._lock = _lock(path)
        try:
            self.resumed = _check_identity(path / MANIFEST, manifest, identity)
            write_json(path / MANIFEST, manifest)
            self.completions = Journal(path / COMPLETIONS)
            self.executions = Journal(path / EXECUTIONS)
            self.stages = Journal(path / STAGES)
        except BaseException:
            os.close(self._lock)
            raise

    def write_problems(self, rows: Iterable[Row]) -> None:
        write_lines(self.path / PROBLEMS, rows)

    def write_scores(self, scores: Row) -> None:
        write_json(self.path / SCORES, scores)

    def write_text(self, name: str, text: str) -> None:
        write_text(self.path / name, text)

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
    _make(path)
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _make(path: Path) -> None:
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


def _check_identity(path: Path, manifest: Row, identity: tuple[str, ...]) -> bool:
    if not path.exists():
        return False
    before = read_json(path)
    for field in identity:
        old, new = before.get(field), json.loads(json.dumps(manifest.get(field)))
        if old != new:
            raise UsageError(
                f"{path.parent} holds a run with another {field} ({_brief(old)}; now {_brief(new)}); "
                "choose another --out"
            )
    return True


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


# ---------------------------------------------------------------- reading


def read_json(path: Path) -> Row:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object")
    return value


def read_manifest(run: Path) -> Row:
    return read_json(run / MANIFEST)


def read_scores(run: Path) -> Row:
    return read_json(run / SCORES)


def read_problems(run: Path) -> list[Row]:
    return list(read_journal(run / PROBLEMS))


def row_id(row: Row) -> RowId:
    return (row["task"], row["problem"], row["sample"])


def read_completions(run: Path) -> Iterator[Completion]:
    for row in read_journal(run / COMPLETIONS):
        yield completion_of(row)


def read_executions(run: Path) -> dict[RowId, Row]:
    """The last row of each sample: a void one that was run again is superseded."""
    return {row_id(row): row for row in read_journal(run / EXECUTIONS)}


def completion_row(completion: Completion) -> Row:
    key = "answer" if completion.style is PromptStyle.CHAT else "completion"
    return {
        "task": completion.task,
        "problem": completion.problem,
        "sample": completion.sample,
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
        text=row["answer" if chat else "completion"],
        style=PromptStyle.CHAT if chat else PromptStyle.RAW,
        finish_reason=FinishReason(row.get("finish_reason", "unknown")),
        prompt_tokens=row.get("prompt_tokens"),
        new_tokens=row.get("new_tokens"),
        seconds=row.get("seconds"),
    )


# ---------------------------------------------------------------- writing whole files


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: a crash leaves the old file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Row) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
