"""Rows as a left-padded batch with the library's own cache, for models that the slots cannot hold (a window, alibi)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from codecard.generate import noise
from codecard.generate.rows import Row
from codecard.generate.stepper import Forward


class BatchStepper:
    """Does what `Stepper` does, with rows that begin together: a row that ends makes no room for the next."""

    def __init__(self, model: Any, slots: int) -> None:
        self._slots = slots
        self._config, self._device = model.config, model.device
        self._forward = Forward(model)
        self._numbers: dict[int, int] = {}  # the row of the tensors that each place has

    def ready(self, free: int, waiting: int) -> bool:
        return free == self._slots

    def admit(self, rows: Mapping[int, Row]) -> None:
        """Have rows begin while no other is there. The first step computes their prompts, a later one a token each."""
        self._numbers = {place: number for number, place in enumerate(rows)}
        prompts = [row.ids for row in rows.values()]
        width = max(map(len, prompts))
        padded = [[0] * (width - len(ids)) + ids for ids in prompts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        self._cache = DynamicCache(config=self._config)
        self._inputs = torch.tensor(padded, device=self._device)
        self._mask = torch.tensor(mask, device=self._device)
        self._steps = torch.zeros(len(rows), dtype=torch.int64, device=self._device)
        requests = [row.request for row in rows.values()]
        self._keys, self._settings = noise.keys_and_settings(requests, self._device)

    def prefill(self, prompts: Mapping[int, list[int]]) -> None:
        """The first step does it."""

    def copy_prompt(self, source: int, place: int) -> None:
        """A prompt is computed for each of its samples."""

    def move(self, source: int, place: int) -> None:
        """Go on with the row of `source` at `place`."""
        self._numbers[place] = self._numbers[source]

    @torch.inference_mode()
    def step(self, live: int) -> list[int]:
        """One forward pass and one draw: the next token of the first `live` rows."""
        self._keep([self._numbers[place] for place in range(live)])
        inputs, mask = self._inputs, self._mask
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        output = self._forward(self._cache, input_ids=inputs, attention_mask=mask, position_ids=positions)
        tokens = noise.draw(output.logits[:, -1, :].float(), self._settings, self._keys, self._steps)
        self._inputs = tokens[:, None]
        self._mask = torch.cat([mask, mask.new_ones(live, 1)], dim=-1)
        self._steps = self._steps + 1
        return tokens.tolist()

    def _keep(self, numbers: Sequence[int]) -> None:
        """Go on with these rows of the tensors alone, in this order."""
        if list(numbers) == list(range(len(self._inputs))):
            return
        at = torch.tensor(numbers, device=self._device)
        self._cache.batch_select_indices(at)
        for name in ("_inputs", "_mask", "_steps", "_keys", "_settings"):
            setattr(self, name, getattr(self, name)[at])
        self._numbers = {place: place for place in range(len(numbers))}
