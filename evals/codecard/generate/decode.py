"""A left-padded batch decoded step by step over a stock causal language model with a key-value cache."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from codecard.generate import noise
from codecard.generate.port import GenerationRequest
from codecard.generate.stops import Tail
from codecard.model import Completion, FinishReason


@dataclass(slots=True, kw_only=True)
class Row:
    """A request on its way: prompt token ids and `room`, the most tokens it may add (at least 1)."""

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

    def completion(self, reason: FinishReason, seconds: float = 0.0) -> Completion:
        request = self.request
        return Completion(
            task=request.task,
            problem=request.problem,
            sample=request.sample,
            text=self.tail.text,
            style=request.style,
            finish_reason=reason,
            prompt_tokens=len(self.ids),
            new_tokens=self.new,
            seconds=round(seconds, 4),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What decoding needs of a tokenizer: bytes per token id, and the ids that end a row."""

    pieces: Sequence[bytes]
    eos: frozenset[int]

    def piece(self, token: int) -> bytes:
        """Embedding tables are often padded beyond the tokenizer; such an id has no text."""
        return self.pieces[token] if token < len(self.pieces) else b""


def decode(model: Any, rows: Sequence[Row], vocabulary: Vocabulary) -> Iterator[Completion]:
    """Decode `rows` together; yield each row's completion as it finishes.

    `new_tokens` counts every generated token, an end token included; the end token's text is left out. A row
    that has finished leaves the batch, so the rows that go on do not pay for it.
    """
    started = time.perf_counter()
    batch = _Batch(model, rows)
    live = list(rows)
    while live:
        alive: list[int] = []
        for place, (row, token) in enumerate(zip(live, batch.step(), strict=True)):
            reason = _advance(row, token, vocabulary)
            if reason is None:
                alive.append(place)
            else:
                yield row.completion(reason, time.perf_counter() - started)
        if len(alive) < len(live):
            live = [live[place] for place in alive]
            batch.keep(alive)


def _advance(row: Row, token: int, vocabulary: Vocabulary) -> FinishReason | None:
    row.new += 1
    if token in vocabulary.eos:
        return FinishReason.EOS
    if row.tail.feed(vocabulary.piece(token)):
        return FinishReason.STOP
    return FinishReason.LENGTH if row.new >= row.room else None


class _Batch:
    """The tensors of the rows that are still running. `inputs` is the whole prompt first, then one token."""

    def __init__(self, model: Any, rows: Sequence[Row]) -> None:
        width = max(len(row.ids) for row in rows)
        pads = [width - len(row.ids) for row in rows]
        requests = [row.request for row in rows]
        device = model.device
        self._model = model
        self._accepts = inspect.signature(model.forward).parameters
        self._cache = DynamicCache(config=model.config)
        self._inputs = torch.tensor([[0] * pad + row.ids for pad, row in zip(pads, rows, strict=True)], device=device)
        self._mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device)
        self._positions = (self._mask.cumsum(dim=-1) - 1).clamp(min=0)
        self._step = torch.zeros(len(rows), dtype=torch.int64, device=device)
        self._keys = torch.tensor([noise.row_key(r.seed, r.task, r.problem, r.sample) for r in requests], device=device)
        self._settings = torch.tensor(
            [(r.sampling.temperature, r.sampling.top_p, r.sampling.top_k) for r in requests],
            dtype=torch.float64,
            device=device,
        )

    @torch.inference_mode()
    def step(self) -> list[int]:
        """One forward pass and one draw: the next token of every row."""
        given = {"position_ids": self._positions, "logits_to_keep": 1}
        output = self._model(
            input_ids=self._inputs,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in given.items() if name in self._accepts},
        )
        logits = output.logits[:, -1, :].float()
        tokens = noise.draw(logits, self._settings, self._keys, self._step)
        self._inputs = tokens[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=-1)
        self._positions = self._positions[:, -1:] + 1
        self._step = self._step + 1
        return [int(token) for token in tokens.tolist()]

    @torch.inference_mode()
    def keep(self, places: Sequence[int]) -> None:
        """Go on with the rows at `places` alone."""
        if not places:
            return
        at = torch.tensor(places, device=self._mask.device)
        self._cache.batch_select_indices(at)
        for name in ("_inputs", "_mask", "_positions", "_step", "_keys", "_settings"):
            setattr(self, name, getattr(self, name)[at])
