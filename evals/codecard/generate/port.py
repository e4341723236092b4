"""The port through which codecard asks a model: requests in, completions out, in any order."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from codecard.model import Completion, FinishReason, PromptStyle, SampleId, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a dialogue; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One sample to be drawn.

    `prompt` is text to be continued (raw) or a dialogue for the tokenizer's own chat template (chat). `stops` end the
    row as soon as one of them appears in the generated text. `seed` is the run's seed: a backend derives the row's
    randomness from (seed, task, problem, sample, step) alone, so that neither batch composition nor order nor the
    number of samples changes a completion.
    """

    task: str
    problem: str
    sample: int
    prompt: str | tuple[Message, ...]
    stops: tuple[str, ...] = ()
    sampling: Sampling
    seed: int = 0
    turn: int = 1

    @property
    def id(self) -> SampleId:
        return (self.task, self.problem, self.sample)

    @property
    def style(self) -> PromptStyle:
        return PromptStyle.RAW if isinstance(self.prompt, str) else PromptStyle.CHAT

    @property
    def row_seed(self) -> int:
        """31 bits of (seed, task, problem, sample), for engines that take one number a row."""
        name = "\0".join((str(self.seed), self.task, self.problem, str(self.sample)))
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1

    def completion(
        self,
        text: str,
        reason: FinishReason,
        *,
        prompt_tokens: int | None = None,
        new_tokens: int | None = None,
        seconds: float | None = None,
    ) -> Completion:
        """What a backend answers to this request."""
        return Completion(
            task=self.task,
            problem=self.problem,
            sample=self.sample,
            text=text,
            style=self.style,
            turn=self.turn,
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            seconds=seconds,
        )


class Generator(ABC):
    """A model that can be asked."""

    failures: Mapping[SampleId, str] = MappingProxyType({})
    """For each request of the last `generate` that was not answered, the reason in the other side's own words."""
    failed_by = "generator"
    """Who that other side is."""
    own_endpoint = False
    """The model's name proves the model: its maker's own endpoint answers."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What decides the output (model, revision, tokenizer hash, chat-template hash, backend, dtype, device, library
        versions), as JSON values for the manifest."""

    @abstractmethod
    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """Each completion as soon as it is finished, in any order; requests are consumed lazily enough to bound memory.

        A request that could not be answered yields nothing: its sample is void, and a resumed run asks again. A prompt
        that leaves no room within its limits or the model's context is never cut: its completion is empty and ends by
        length. `UsageError` if a dialogue is asked of a tokenizer without a chat template.
        """

    def close(self) -> None:
        """Let go of the model and its memory; closing twice is no error."""
        return
