"""A request on its way through a local model, and the rule by which it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from codecard.generate.port import GenerationRequest
from codecard.generate.stops import Tail
from codecard.model import Completion, FinishReason


@dataclass(slots=True, kw_only=True)
class Row:
    """A request: its prompt's token ids and `room`, the most tokens it may add (at least 1)."""

    request: GenerationRequest
    ids: list[int]
    room: int
    new: int = 0
    tail: Tail = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was generated; the row's noise makes the second try equal to the first."""
        self.new = 0
        self.tail = Tail(self.request.stops)

    @property
    def id(self) -> tuple[str, str, int]:
        return (self.request.task, self.request.problem, self.request.sample)

    def completion(self, reason: FinishReason, seconds: float = 0.0) -> Completion:
        prompt_tokens, seconds = len(self.ids), round(seconds, 4)
        return self.request.completion(
            self.tail.text, reason, prompt_tokens=prompt_tokens, new_tokens=self.new, seconds=seconds
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
    """Give `row` its next token; why it ends with it, or None.

    Every generated token counts, an end token included; the end token's text is left out.
    """
    row.new += 1
    if token in vocabulary.eos:
        return FinishReason.EOS
    if row.tail.feed(vocabulary.piece(token)):
        return FinishReason.STOP
    return FinishReason.LENGTH if row.new >= row.room else None
