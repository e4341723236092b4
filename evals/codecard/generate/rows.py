"""A request on its way through a local model, and the rule by which it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from codecard.generate.port import GenerationRequest
from codecard.generate.stops import Tail
from codecard.model import Completion, FinishReason


@dataclass(slots=True, kw_only=True)
class Row:
    """A request: its prompt's token ids and `room`, the most tokens it may add; below 1 it is never begun."""

    request: GenerationRequest
    ids: list[int]
    room: int
    new: int = field(init=False)
    tail: Tail = field(init=False)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin, or begin again: the row's noise makes a second try equal to the first."""
        self.new, self.tail, self.started = 0, Tail(self.request.stops), time.perf_counter()

    def completion(self, reason: FinishReason) -> Completion:
        seconds = round(time.perf_counter() - self.started, 4) if self.new else 0.0
        return self.request.completion(
            self.tail.text, reason, prompt_tokens=len(self.ids), new_tokens=self.new, seconds=seconds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What decoding needs of a tokenizer: bytes per token id, and the ids that end a row."""

    pieces: Sequence[bytes]
    eos: frozenset[int]

    def piece(self, token: int) -> bytes:
        """Embedding tables are often padded beyond the tokenizer; such an id has no text."""
        return self.pieces[token] if token < len(self.pieces) else b""


def advance(row: Row, token: int, vocabulary: Vocabulary) -> FinishReason | None:
    """Give `row` its next token; why it ends with it, or None. An end token counts, but has no text."""
    row.new += 1
    if token in vocabulary.eos:
        return FinishReason.EOS
    if row.tail.feed(vocabulary.piece(token)):
        return FinishReason.STOP
    return FinishReason.LENGTH if row.new >= row.room else None
