"""The tensors of the rows that are being decoded, and the two things done to them: prefill and step.

What else is decoded changes a row's logits by rounding at most, in float32 on most CPUs not by a bit, for it changes
few shapes. A prompt is prefilled at a width of its own, and the columns that a step reads come in sixteens: attention
over masked columns adds zeros, in an order that sixteen columns more do not change. Rows are multiplied in fours: for
the one to three left over the matrix library takes other kernels. (With AVX-512 MKL takes others for eight rows than
for four, too, where a layer is 160 or more wide.)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from codecard.generate import noise
from codecard.generate.rows import Row
from codecard.generate.slot_cache import SlotCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """How tensors are rounded up, and when places are filled: a step has a multiple of `rows` rows and reads a multiple
    of `columns` columns, of which there are `first` to begin with. Prompts are prefilled at multiples of `prompts`, at
    most `prefill` tokens at a time, once `refill` places are free."""

    rows: int
    columns: int
    first: int
    prompts: int
    prefill: int
    refill: int


_CPU = Shapes(rows=4, columns=16, first=16, prompts=16, prefill=1024, refill=1)


class Forward:
    """The forward pass of `network`, called with as much of what is given as its signature knows; where it knows that
    too, logits are computed of the last token alone."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._accepts = inspect.signature(network.forward).parameters
        self._cache = _cache_name(network)

    def __call__(self, cache: Any, **given: Any) -> Any:
        given["logits_to_keep"] = 1
        known = {name: value for name, value in given.items() if name in self._accepts}
        return self._network(use_cache=True, **known, **{self._cache: cache})


def _cache_name(network: Any) -> str:
    """What `network` calls its cache of keys and values, empty where it has none. transformers 5.20 knows the older
    name alone, 5.24 warns of it."""
    accepts = inspect.signature(network.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in accepts), "")


def holds(model: Any) -> bool:
    """Whether a stepper can decode with `model`: it takes positions, and all it keeps are keys and values."""
    config = model.config.get_text_config()
    attention = getattr(config, "_attn_implementation", "")
    positions = "position_ids" in inspect.signature(model.forward).parameters
    if not positions or attention not in ("sdpa", "eager") or getattr(config, "alibi", False):
        return False
    return _kept(config) == {DynamicLayer}


def pads(model: Any) -> bool:
    """Whether `model` can be given a padded batch: it keeps keys and values alone, if only of a window of tokens.
    (What keeps a running state takes padding in.)"""
    kinds = {DynamicLayer, DynamicSlidingWindowLayer}
    return bool(_cache_name(model)) and _kept(model.config.get_text_config()) <= kinds


def _kept(config: Any) -> set[type]:
    """The kinds of layer in the cache that the library makes for this model."""
    return {type(layer) for layer in DynamicCache(config=config).layers}


class Stepper:
    """Rows of `model` at places 0 to `slots` - 1; a step decodes the first so many of them."""

    def __init__(self, model: Any, slots: int, shapes: Shapes = _CPU, *, paged: bool = False) -> None:
        self._shapes = shapes
        self._places = _round_up(slots, shapes.rows)
        self._head, self._body = Forward(model), Forward(model.base_model)
        self._additive = model.config.get_text_config()._attn_implementation == "eager"
        self._dtype, device = model.dtype, model.device
        self._cache = SlotCache(self._places, paged=paged)
        self._at = [0] * self._places
        self._tokens = torch.zeros((self._places, 1), dtype=torch.int64, device=device)
        self._columns = torch.zeros(self._places, dtype=torch.int64, device=device)
        self._steps = torch.zeros(self._places, dtype=torch.int64, device=device)
        self._keys = torch.zeros((self._places, 4), dtype=torch.int64, device=device)
        self._settings = torch.zeros((self._places, 3), dtype=torch.float64, device=device)

    def ready(self, free: int, waiting: int) -> bool:
        """Whether waiting rows are put into free places now, of which there must be some."""
        return free >= self._shapes.refill or free >= waiting

    @torch.inference_mode()
    def admit(self, rows: Mapping[int, Row]) -> None:
        """Have each row begin at its place: its last prompt token is the next to be computed."""
        self._reserve(max(len(row.ids) for row in rows.values()))
        device = self._tokens.device
        places = torch.tensor(list(rows), device=device)
        for place, row in rows.items():
            self._at[place] = len(row.ids) - 1
        self._tokens[places, 0] = torch.tensor([row.ids[-1] for row in rows.values()], device=device)
        self._columns[places] = torch.tensor([self._at[place] for place in rows], device=device)
        self._steps[places] = 0
        requests = [row.request for row in rows.values()]
        self._keys[places], self._settings[places] = noise.keys_and_settings(requests, device)

    @torch.inference_mode()
    def prefill(self, prompts: Mapping[int, list[int]]) -> None:
        """Compute keys and values of all but the last token of each place's prompt. Prompts of one rounded width go
        together; padding is on the right, where causal attention never looks."""
        by_width: dict[int, list[int]] = {}
        for place, ids in prompts.items():
            if len(ids) > 1:
                by_width.setdefault(_round_up(len(ids) - 1, self._shapes.prompts), []).append(place)
        for width, places in by_width.items():
            size = max(1, self._shapes.prefill // width)
            for first in range(0, len(places), size):
                self._prefill({place: prompts[place][:-1] for place in places[first : first + size]}, width)

    def _prefill(self, prompts: Mapping[int, list[int]], width: int) -> None:
        padded = [ids + [0] * (width - len(ids)) for ids in prompts.values()]
        cache = DynamicCache()
        self._body(cache, input_ids=torch.tensor(padded, device=self._tokens.device))
        self._cache.store(cache, [(row, place, len(ids)) for row, (place, ids) in enumerate(prompts.items())])

    @torch.inference_mode()
    def copy_prompt(self, source: int, place: int) -> None:
        """Copy the prompt of `place`, which is also that of `source`."""
        self._cache.copy(source, place, self._at[place])

    @torch.inference_mode()
    def move(self, source: int, place: int) -> None:
        """Go on with the row of `source` at `place`."""
        self._cache.copy(source, place, self._at[source])
        self._at[place] = self._at[source]
        for tensor in (self._tokens, self._columns, self._steps, self._keys, self._settings):
            tensor[place] = tensor[source]

    @torch.inference_mode()
    def step(self, live: int) -> list[int]:
        """One forward pass and one draw: the next token of the first `live` rows."""
        rows = self._rows(live)
        reach = max(self._at[:live]) + 1
        self._reserve(reach)
        width = min(_round_up(reach, self._shapes.columns), self._cache.columns)
        logits = self._forward(rows, width)[:live].float()
        tokens = noise.draw(logits, self._settings[:live], self._keys[:live], self._steps[:live])
        self._tokens[:live, 0] = tokens
        self._columns[:live] += 1
        self._steps[:live] += 1
        for place in range(live):
            self._at[place] += 1
        return tokens.tolist()

    def _rows(self, live: int) -> int:
        return _round_up(live, self._shapes.rows)

    def _forward(self, rows: int, width: int) -> torch.Tensor:
        """Logits (rows, vocabulary) of the tokens at hand, over the first `width` columns."""
        columns = self._columns[:rows]
        self._cache.open(columns.clamp(max=self._cache.columns - 1), width)  # a place left empty may stand at the end
        mask = (torch.arange(width, device=columns.device) <= columns[:, None])[:, None, None, :]
        if self._additive:
            least = torch.finfo(self._dtype).min
            mask = torch.zeros_like(mask, dtype=self._dtype).masked_fill(~mask, least)
        tokens = self._tokens[:rows]
        output = self._head(self._cache, input_ids=tokens, attention_mask=mask, position_ids=columns[:, None])
        return torch.as_tensor(output.logits[:, -1, :])

    def _reserve(self, columns: int) -> None:
        """Half as many columns again as there were, at least `columns`: few copies, little to spare."""
        if columns > self._cache.columns:
            room = max(columns, self._cache.columns * 3 // 2, self._shapes.first)
            self._cache.grow(_round_up(room, self._shapes.columns))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
