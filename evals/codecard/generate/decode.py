"""A left-padded batch decoded step by step with the library's own cache.

For models whose cache is not keys and values alone (sliding windows, recurrent layers): the slot engine cannot
hold those, this can. Rows leave when they end; no row takes their place.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from codecard.generate import noise
from codecard.generate.memory import fewer, shortage
from codecard.generate.rows import Row, Vocabulary, advance
from codecard.model import Completion, FinishReason

_WINDOW = 8
"""Batches read ahead, so that prompts of like length meet in one batch."""


class BatchEngine:
    """Decodes rows with `model` in batches of `slots`, longest prompt first; they halve whenever memory runs out."""

    def __init__(self, model: Any, vocabulary: Vocabulary, slots: int) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self.slots = slots

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]:
        """Yield each row's completion as it finishes. A row without room ends by length, empty."""
        pending = iter(rows)
        while window := list(itertools.islice(pending, self.slots * _WINDOW)):
            yield from (row.completion(FinishReason.LENGTH) for row in window if row.room < 1)
            yield from self._all(deque(sorted((r for r in window if r.room > 0), key=lambda row: -len(row.ids))))

    def _all(self, rows: deque[Row]) -> Iterator[Completion]:
        while rows:
            batch = [rows.popleft() for _ in range(min(self.slots, len(rows)))]
            done: set[tuple[str, str, int]] = set()
            failure = ""
            try:
                for completion in self._batch(batch):
                    done.add(completion.id)
                    yield completion
            except (MemoryError, RuntimeError) as error:
                failure = shortage(error)
            if failure:  # outside the handler: its traceback would keep the tensors alive
                self.slots = fewer(len(batch), failure, str(self._model.device))
                left = [row for row in batch if row.id not in done]
                for row in left:
                    row.restart()
                rows.extendleft(reversed(left))

    def _batch(self, rows: Sequence[Row]) -> Iterator[Completion]:
        """A row that has finished leaves the batch, so the rows that go on do not pay for it."""
        started = time.perf_counter()
        batch = _Batch(self._model, rows)
        live = list(rows)
        while live:
            alive: list[int] = []
            for place, (row, token) in enumerate(zip(live, batch.step(), strict=True)):
                reason = advance(row, token, self._vocabulary)
                if reason is None:
                    alive.append(place)
                else:
                    yield row.completion(reason, time.perf_counter() - started)
            if len(alive) < len(live):
                live = [live[place] for place in alive]
                batch.keep(alive)


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
