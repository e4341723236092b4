"""Adapter: completions recorded elsewhere, played back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from codecard.files import Row, numbered_rows, read_bytes
from codecard.generate.backends import Opening
from codecard.generate.port import GenerationRequest, Generator
from codecard.model import Completion, FinishReason, PromptStyle, SampleId, UsageError
from codecard.settings import ModelSpec


class ReplayGenerator(Generator):
    """Answers from a JSONL file of `{"task", "problem", "sample", "completion"}` rows, unedited, whatever the request's
    sampling and stops are. A row with `answer` in place of `completion` is a chat answer; a row's own `style` wins over
    that. `sample` defaults to 0."""

    def __init__(self, spec: ModelSpec, opening: Opening) -> None:
        self._path = Path(spec.name)
        content = read_bytes(self._path)
        self._hash = hashlib.sha256(content).hexdigest()
        self._rows = _rows(self._path, content)

    def fingerprint(self) -> dict[str, Any]:
        return {"model": f"replay:{self._path.name}", "revision": f"sha256:{self._hash}", "backend": "replay"}

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        for request in requests:
            if request.id not in self._rows:
                asked = f"{request.task} {request.problem} sample {request.sample}"
                raise UsageError(f"replay file {self._path}: no completion of {asked}")
            yield self._rows[request.id]


open_model = ReplayGenerator


def _rows(path: Path, content: bytes) -> dict[SampleId, Completion]:
    rows: dict[SampleId, Completion] = {}
    for number, row in numbered_rows(content, path):
        try:
            completion = _completion(row)
        except (ValueError, KeyError, TypeError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{path}:{number}: {detail}") from error
        if rows.setdefault(completion.id, completion) != completion:
            raise UsageError(f"{path}:{number}: a second, different row for {completion.id}")
    return rows


def _completion(row: Row) -> Completion:
    style = PromptStyle(row.get("style", PromptStyle.CHAT if "answer" in row else PromptStyle.RAW))
    text = row["answer"] if "answer" in row else row["completion"]
    task, problem, sample = row["task"], row["problem"], row.get("sample", 0)
    if not all(isinstance(value, str) for value in (text, task, problem)) or type(sample) is not int:
        raise TypeError("task, problem and completion must be strings, sample a whole number")
    return Completion(
        task=task,
        problem=problem,
        sample=sample,
        text=text,
        style=style,
        finish_reason=FinishReason(row.get("finish_reason", FinishReason.UNKNOWN)),
        prompt_tokens=row.get("prompt_tokens"),
        new_tokens=row.get("new_tokens"),
    )
