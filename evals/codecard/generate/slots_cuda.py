"""Decode steps on a CUDA GPU: captured once for each size, and attention that reads a row's own columns alone.

A step of a small batch is bound by launching kernels, so it is captured as a CUDA graph for each pair of (rows, columns
read), both rounded up so that there are few pairs. Where PyTorch has `varlen_attn` with a block table, and it agrees
with plain attention on this device, attention reads no column beyond a row's end; elsewhere masked attention reads up
to the longest row's end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from codecard.generate.stepper import Shapes, Stepper

PAGE = 256  # columns of a page; the flash kernels want a multiple of this
_NAME = "codecard_slots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where the rows of a step find their keys and values, as `varlen_attn` wants it said."""

    table: torch.Tensor
    used: torch.Tensor
    starts: torch.Tensor
    width: int

    @classmethod
    def of(cls, at: torch.Tensor, width: int, columns: int) -> Pages:
        """Rows at columns `at`, reading at most `width` of the `columns` that each place has."""
        kind: dict[str, Any] = {"dtype": torch.int32, "device": at.device}
        first = torch.arange(len(at), **kind)[:, None] * (columns // PAGE)
        return cls(
            table=first + torch.arange(width // PAGE, **kind),
            used=(at + 1).clamp(max=width).int(),
            starts=torch.arange(len(at) + 1, **kind),
            width=width,
        )


_PAGES: ContextVar[Pages | None] = ContextVar("pages", default=None)


def attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **given: Any
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: one token a row over its pages, everything else as sdpa does it."""
    pages = _PAGES.get()
    if pages is None:
        return sdpa_attention_forward(module, query, key, value, mask, **given)
    return paged(query[:, :, 0], key, value, pages, given.get("scaling"))[:, None], None


def paged(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, pages: Pages, scale: float | None
) -> torch.Tensor:
    """(rows, heads, width) of queries over whole (places, heads, columns, width) layers, laid out by page."""
    from torch.nn.attention.varlen import varlen_attn

    grouped = query.shape[1] != keys.shape[1]
    told: dict[str, Any] = {"scale": scale, "enable_gqa": grouped, "seqused_k": pages.used, "block_table": pages.table}
    return torch.as_tensor(varlen_attn(query, _pool(keys), _pool(values), pages.starts, None, 1, pages.width, **told))


def _pool(layer: torch.Tensor) -> torch.Tensor:
    """A whole layer as the pages it is laid out in, (pages, columns, heads, width)."""
    return layer.transpose(1, 2).view(-1, PAGE, layer.shape[1], layer.shape[3])


def pages_work(model: Any) -> bool:
    """Whether `varlen_attn` is here, takes a block table, and gives what plain attention gives on this device."""
    config = model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", _NAME):
        return False
    heads = config.num_attention_heads
    few = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kind: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
    query = torch.randn((2, heads, width), **kind)
    keys, values = (torch.randn((2, 2 * PAGE, few, width), **kind).transpose(1, 2) for _ in range(2))
    at = torch.tensor([3, PAGE + 7], device=model.device)
    seen = (torch.arange(2 * PAGE, device=at.device) <= at[:, None])[:, None, None, :]
    each = [layer.repeat_interleave(heads // few, dim=1) for layer in (keys, values)]
    wanted = torch.nn.functional.scaled_dot_product_attention(query[:, :, None], each[0], each[1], attn_mask=seen)
    try:
        found = paged(query, keys, values, Pages.of(at, 2 * PAGE, 2 * PAGE), None)
    except (ImportError, RuntimeError, ValueError, TypeError):  # it is not here, takes no table, or has no kernel here
        return False
    return bool(torch.allclose(found, wanted[:, :, 0], rtol=0.05, atol=0.02))


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A step that can be run again: `replay` computes `logits` anew from the same tensors."""

    replay: Callable[[], None]
    logits: torch.Tensor


def capture(run: Callable[[], torch.Tensor], pool: Any) -> Captured:
    """Record what `run` launches. Once before, it runs for real: libraries open their handles at the first call."""
    aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        run()
    torch.cuda.current_stream().wait_stream(aside)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        logits = run()
    return Captured(replay=graph.replay, logits=logits)


class CudaStepper(Stepper):
    """A stepper whose forward pass is recorded and replayed. `record` is `capture`, but for tests."""

    def __init__(self, model: Any, slots: int, record: Callable[..., Captured] = capture) -> None:
        shapes = Shapes(rows=1, columns=PAGE, first=4 * PAGE, prompts=64, prefill=8192, refill=max(1, slots // 8))
        self._paged = pages_work(model)
        super().__init__(model, slots, shapes, paged=self._paged)
        self._record = record
        self._pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None
        self._captured: dict[tuple[int, int], Captured] = {}
        if self._paged:
            AttentionInterface.register(_NAME, attention)
            AttentionMaskInterface.register(_NAME, sdpa_mask)
            model.set_attn_implementation(_NAME)

    def _rows(self, live: int) -> int:
        """The next power of two: few sizes to capture, at most as many empty rows as rows."""
        return min(1 << (live - 1).bit_length(), self._places)

    def _reserve(self, columns: int) -> None:
        if columns > self._cache.columns:
            self._captured.clear()  # they write where the smaller cache was
            super()._reserve(columns)

    def _forward(self, rows: int, width: int) -> torch.Tensor:
        if (rows, width) not in self._captured:
            self._captured[rows, width] = self._record(lambda: self._paged_forward(rows, width), self._pool)
        step = self._captured[rows, width]
        step.replay()
        return step.logits

    def _paged_forward(self, rows: int, width: int) -> torch.Tensor:
        token = _PAGES.set(Pages.of(self._columns[:rows], width, self._cache.columns) if self._paged else None)
        try:
            return super()._forward(rows, width)
        finally:
            _PAGES.reset(token)
