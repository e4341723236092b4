"""Keys and values of the rows that are being decoded: a place per row, written in place.

Place p holds its row's tokens in columns 0, 1, 2, …; a step writes every row at its own next column. Nothing is moved
when rows of different length meet, when one leaves, or when another takes its place. A prompt's columns stay readable
until the place is given to another prompt, so that the prompt's next sample copies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values, (places, heads, columns, width) each


class SlotCache(Cache):
    """What a model's attention layers write to and read from during a step. A `paged` cache gives attention its whole
    layers, for a block table says there what is read, and lays columns out before heads in memory, as that table wants
    them."""

    def __init__(self, places: int, *, paged: bool = False) -> None:
        super().__init__(layers=[])  # of which the library asks lengths and masks: a step gives both itself
        self.held: dict[int, Pair] = {}  # by layer, from its first use on
        self.columns = 0
        self._places = places
        self._paged = paged

    def open(self, at: torch.Tensor, width: int) -> None:
        """Begin a step: `at` (rows,) is the column each row writes, `width` how many columns are read."""
        self._place, self._at, self._width = torch.arange(len(at), device=at.device), at, width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Pair:
        """Write one token per row and give the columns that attention reads."""
        keys, values = self._layer(layer_idx, (key_states, value_states))
        keys[self._place, :, self._at] = key_states[:, :, 0]
        values[self._place, :, self._at] = value_states[:, :, 0]
        if self._paged:
            return keys, values
        rows = len(key_states)
        return keys[:rows, :, : self._width], values[:rows, :, : self._width]

    def grow(self, columns: int) -> None:
        """Have at least `columns` columns, a layer at a time, so that only one layer is there twice."""
        self.columns = max(columns, self.columns)
        for number, layer in self.held.items():
            self._layer(number, layer)

    def store(self, prompts: DynamicCache, entries: Sequence[tuple[int, int, int]]) -> None:
        """Take prompts over from `prompts`: (its row, place, tokens) each."""
        for number, source in enumerate(prompts.layers):
            assert isinstance(source, DynamicLayer)
            assert source.keys is not None
            assert source.values is not None
            given = (source.keys, source.values)
            for whole, prompt in zip(self._layer(number, given), given, strict=True):
                for row, place, tokens in entries:
                    whole[place, :, :tokens] = prompt[row, :, :tokens]

    def copy(self, source: int, place: int, tokens: int) -> None:
        """Copy the first `tokens` columns of a place to another."""
        for layer in self.held.values():
            for whole in layer:
                whole[place, :, :tokens] = whole[source, :, :tokens]

    def _layer(self, number: int, like: Pair) -> Pair:
        """A layer with all its columns, for keys and values as wide as `like`; what was held is kept."""
        held = self.held.get(number)
        if held is None or held[0].shape[2] < self.columns:
            keys, values = (self._empty(given) for given in like)
            if held is not None:
                for new, old in ((keys, held[0]), (values, held[1])):
                    new[:, :, : old.shape[2]] = old
            held = self.held[number] = (keys, values)
        return held

    def _empty(self, given: torch.Tensor) -> torch.Tensor:
        """Zeros: a masked column still takes part in 0 · value, which must not be 0 · NaN."""
        _, heads, _, width = given.shape
        kind: dict[str, Any] = {"dtype": given.dtype, "device": given.device}
        if self._paged:
            return torch.zeros((self._places, self.columns, heads, width), **kind).transpose(1, 2)
        return torch.zeros((self._places, heads, self.columns, width), **kind)
