"""Adapter: a transformers causal language model on this machine.

In float32 a completion does not depend on what else is decoded beside it; in bfloat16 logits move with the batch's
shape, so the same seed is statistically, not literally, the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from codecard.generate.backends import Opening, locate
from codecard.generate.loading import Loaded, device_name, end_tokens, free, load
from codecard.generate.port import GenerationRequest, Generator
from codecard.generate.prompts import prepared, tokenizer_print
from codecard.generate.rows import Row, Vocabulary
from codecard.generate.stops import token_bytes
from codecard.model import Completion, UsageError
from codecard.settings import ModelSpec

if TYPE_CHECKING:
    from codecard.generate.naive import NaiveEngine
    from codecard.generate.slots import SlotEngine

_CPU_BATCH = 16
_GPU_BATCH = 128


class TransformersGenerator(Generator):
    """Asks a folder or a Hub id; `hf-naive:` has the library's own `generate` do it, for each prompt by itself. Unless
    a batch size is given, as many rows are decoded at once as suit the device; they halve whenever memory runs out."""

    def __init__(self, spec: ModelSpec, opening: Opening) -> None:
        model, revision, self._name = locate(spec)
        loaded = load(model, revision=revision, dtype=opening.dtype, device=opening.device)
        self._loaded: Loaded | None = loaded
        self._naive = spec.backend == "hf-naive"
        self._batch_size = opening.batch_size or _default_batch(loaded)
        self._eos = end_tokens(loaded.tokenizer, loaded.model.generation_config, loaded.model.config)
        self._asked: NaiveEngine | SlotEngine | None = None

    def fingerprint(self) -> dict[str, Any]:
        loaded = self._open()
        return {
            "model": self._name,
            "revision": loaded.revision,
            "backend": "transformers-naive" if self._naive else "transformers",
            "dtype": loaded.dtype,
            "device": device_name(loaded.device),
            **tokenizer_print(loaded.tokenizer),
            "eos_token_ids": sorted(self._eos),
            "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        yield from self._engine().run(self._prepare(request) for request in requests)

    def close(self) -> None:
        if self._loaded is not None:
            device, self._loaded, self._asked = self._loaded.device, None, None
            free(device)

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise UsageError(f"generator for {self._name} is closed")
        return self._loaded

    def _engine(self) -> NaiveEngine | SlotEngine:
        """Opened once: what it learns of the machine's memory holds for the requests to come."""
        loaded = self._open()
        if self._asked is None:
            from codecard.generate.naive import NaiveEngine
            from codecard.generate.slots import SlotEngine
            from codecard.generate.stepper import pads

            if self._naive or not pads(loaded.model):
                self._asked = NaiveEngine(loaded, self._eos)
            else:
                vocabulary = Vocabulary(pieces=token_bytes(loaded.tokenizer), eos=self._eos)
                self._asked = SlotEngine(loaded.model, vocabulary, self._batch_size)
        return self._asked

    def _prepare(self, request: GenerationRequest) -> Row:
        loaded = self._open()
        context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        return prepared(loaded.tokenizer, request, context, self._name)


open_model = TransformersGenerator


def _default_batch(loaded: Loaded) -> int:
    """Rows that fit: on a GPU, as many caches of 1,024 tokens as four fifths of the free memory hold."""
    if not loaded.device.startswith("cuda"):
        return _CPU_BATCH
    import torch

    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * width * loaded.model.dtype.itemsize * 1024
    left, _ = torch.cuda.mem_get_info(loaded.device)
    return max(1, min(_GPU_BATCH, int(left * 0.8 / row)))
