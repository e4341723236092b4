"""Adapter: judgments recorded elsewhere, played back to the prompts they were given to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from codecard.model import UsageError
from codecard.suites.mt_bench.data import JudgePrompt
from codecard.suites.mt_bench.fastchat import API_ERROR, RecordedJudgment
from codecard.suites.mt_bench.judge import Reply


class ReplayJudge:
    """Answers a prompt with the text recorded for the very same prompt, byte for byte.

    `rows` are a FastChat judgment file's. Another answer than the one recorded finds nothing, whatever the
    model is called. A prompt recorded twice gives its first text.
    """

    def __init__(self, path: Path, rows: Iterable[RecordedJudgment]) -> None:
        rows = list(rows)
        names = list(dict.fromkeys(row.judge for row in rows))
        if len(names) != 1:
            raise UsageError(f"{path}: recordings of {len(names)} judges ({', '.join(names)}); expected one")
        self._name = names[0]
        self._path = path
        self._hash = hashlib.sha256(path.read_bytes()).hexdigest()
        self._texts: dict[tuple[str, str], str] = {}
        for row in rows:
            if row.text != API_ERROR:
                self._texts.setdefault((row.form, row.user_prompt), row.text)

    @property
    def name(self) -> str:
        return self._name

    @property
    def recognised(self) -> bool:
        return True

    @property
    def identity(self) -> dict[str, Any]:
        return {"judge": self._name, "backend": "replay", "revision": f"sha256:{self._hash}"}

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        for prompt in prompts:
            text = self._texts.get((prompt.name, prompt.user))
            failure = "" if text is not None else f"{self._path.name} holds no judgment of this prompt"
            yield Reply(prompt=prompt, text=text, failure=failure)

    def close(self) -> None:
        self._texts = {}
