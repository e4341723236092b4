"""The port through which answers are judged: prompts in, texts out, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from codecard.suites.mt_bench.data import JudgePrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the judge wrote, or None with the reason: the request failed, and a resumed run asks again."""

    prompt: JudgePrompt
    text: str | None
    failure: str = ""


class Judge(Protocol):
    """`name` as results show it; `identity` all that decides its text besides the prompt (JSON values)."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def recognised(self) -> bool:
        """Whether the name proves the model: a recording, or its maker's own endpoint."""
        ...

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]: ...

    def close(self) -> None: ...
