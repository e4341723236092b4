"""Keys and values of the rows that are being decoded: a place per row, written in place.

Place p holds its row's tokens in columns 0, 1, 2, …; a step writes every row at its own next column. Nothing is
moved when rows of different length meet, when one leaves, or when another takes its place, and a prompt's
columns stay readable until the place is given to another prompt, so that the prompt's next sample copies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, (places, heads, columns, width) each.

    `paged` lays columns out before heads in memory, as a block table wants them; the shape is the same.
    """

    is_sliding = False

    def __init__(self, places: int, *, paged: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = places
        self._paged = paged
        self.columns = 0

    def reserve(self, like: tuple[torch.Tensor, torch.Tensor], columns: int) -> None:
        """Have at least `columns` columns for keys and values as wide as `like`."""
        if columns <= self.columns:
            return
        for name, given in zip(("keys", "values"), like, strict=True):
            old = getattr(self, name)
            new = self._empty(given, columns)
            if old is not None:
                new[:, :, : old.shape[2]] = old
            setattr(self, name, new)
        self.columns, self.is_initialized = columns, True

    def _empty(self, given: torch.Tensor, columns: int) -> torch.Tensor:
        """Zeros: a masked column still takes part in 0 · value, which must not be 0 · NaN."""
        _, heads, _, width = given.shape
        kind: dict[str, Any] = {"dtype": given.dtype, "device": given.device}
        if self._paged:
            return torch.zeros((self._places, columns, heads, width), **kind).transpose(1, 2)
        return torch.zeros((self._places, heads, columns, width), **kind)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("a layer is written through its cache, which knows the columns")

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise NotImplementedError("places are reserved, not found out")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.columns, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.columns

    get_max_cache_shape = get_max_length  # the name before transformers 5.23


class SlotCache(Cache):
    """What a model's attention layers write to and read from during a step over the first `rows` places.

    `open` says which: `at` (rows,) is the column each row writes, and `width` how many columns are read. A `paged`
    cache gives attention its whole layers: a block table says there what is read.
    """

    def __init__(self, places: int, layers: int, *, paged: bool = False) -> None:
        self.slots = [SlotLayer(places, paged=paged) for _ in range(layers)]
        super().__init__(layers=list(self.slots))
        self._paged = paged
        self.columns = 0
        self._at: tuple[torch.Tensor, torch.Tensor] | None = None
        self._width = 0

    def open(self, at: torch.Tensor, width: int) -> None:
        self._at = (torch.arange(len(at), device=at.device), at)
        self._width = width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row and give the columns that attention reads."""
        assert self._at is not None
        layer, rows = self.slots[layer_idx], len(key_states)
        layer.reserve((key_states, value_states), self.columns)
        assert layer.keys is not None
        assert layer.values is not None
        place, at = self._at
        layer.keys[place, :, at] = key_states[:, :, 0]
        layer.values[place, :, at] = value_states[:, :, 0]
        if self._paged:
            return layer.keys, layer.values
        return layer.keys[:rows, :, : self._width], layer.values[:rows, :, : self._width]

    def grow(self, columns: int) -> None:
        """Have at least `columns` columns, a layer at a time, so that only one layer is there twice."""
        if columns <= self.columns:
            return
        for layer in self.slots:
            if layer.keys is not None and layer.values is not None:
                layer.reserve((layer.keys, layer.values), columns)
        self.columns = columns

    def store(self, prompts: DynamicCache, entries: Sequence[tuple[int, int, int]]) -> None:
        """Take prompts over from `prompts`: (its row, place, tokens) each."""
        for layer, source in zip(self.slots, prompts.layers, strict=True):
            assert isinstance(source, DynamicLayer)
            keys, values = source.keys, source.values
            assert keys is not None
            assert values is not None
            layer.reserve((keys, values), self.columns)
            assert layer.keys is not None
            assert layer.values is not None
            for row, place, tokens in entries:
                layer.keys[place, :, :tokens] = keys[row, :, :tokens]
                layer.values[place, :, :tokens] = values[row, :, :tokens]

    def copy(self, source: int, place: int, tokens: int) -> None:
        """Copy the first `tokens` columns of a place to another."""
        for layer in self.slots:
            if layer.keys is not None and layer.values is not None:
                layer.keys[place, :, :tokens] = layer.keys[source, :, :tokens]
                layer.values[place, :, :tokens] = layer.values[source, :, :tokens]
