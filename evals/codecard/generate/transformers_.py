"""Adapter: a transformers causal language model on this machine.

In float32 a completion does not depend on what else is decoded beside it; in bfloat16 logits move with the
batch's shape, so the same seed is statistically, not literally, the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from codecard.generate.backends import Opening, locate
from codecard.generate.loading import Loaded, eos_ids, load
from codecard.generate.memory import free
from codecard.generate.port import GenerationRequest, Generator
from codecard.generate.prompts import encode, room, tokenizer_print
from codecard.generate.stops import token_bytes
from codecard.model import Completion, UsageError
from codecard.settings import ModelSpec

if TYPE_CHECKING:
    from codecard.generate.rows import Row, Vocabulary

_CPU_BATCH = 16
_GPU_BATCH = 128


class Engine(Protocol):
    """What turns rows into completions, at most `slots` at a time, each yielded as it finishes."""

    slots: int

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]: ...


class TransformersGenerator(Generator):
    """Asks `model`, a folder or a Hub id. `name` is what results call it.

    `batch_size` is how many rows are decoded side by side. None picks a number for the device; it halves whenever
    memory runs out.
    """

    backend = "transformers"

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch size must be at least 1, not {batch_size}")
        self._loaded: Loaded | None = load(model, revision=revision, dtype=dtype, device=device)
        self._name = name or model
        self._batch_size = batch_size or _default_batch(self._loaded)
        self._eos = eos_ids(self._loaded)
        self._asked: Engine | None = None

    def fingerprint(self) -> dict[str, Any]:
        """What decides the output, all JSON. Hashes are the first 16 hex digits of sha256."""
        import tokenizers
        import torch
        import transformers

        loaded = self._open()
        return {
            "model": self._name,
            "revision": loaded.revision,
            "backend": self.backend,
            "dtype": loaded.dtype,
            "device": _device_name(loaded.device),
            **tokenizer_print(loaded.tokenizer),
            "eos_token_ids": sorted(self._eos),
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
            },
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """Yield a completion per request as it finishes.

        A prompt that leaves no room within its limits or the model's context gives an empty completion that
        ends by length; it is never cut. `UsageError` if a dialogue is asked of a tokenizer without template.
        """
        yield from self._engine().run(self._prepare(request) for request in requests)

    def close(self) -> None:
        """Let go of the model and its memory."""
        if self._loaded is None:
            return
        device, self._loaded, self._asked = self._loaded.device, None, None
        free(device)

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise UsageError(f"generator for {self._name} is closed")
        return self._loaded

    def _engine(self) -> Engine:
        """Opened once: what it learns of the machine's memory holds for the requests to come."""
        if self._asked is None:
            from codecard.generate.rows import Vocabulary

            loaded = self._open()
            vocabulary = Vocabulary(pieces=token_bytes(loaded.tokenizer), eos=self._eos)
            self._asked = self._make_engine(loaded, vocabulary)
        return self._asked

    def _make_engine(self, loaded: Loaded, vocabulary: Vocabulary) -> Engine:
        from codecard.generate.decode import BatchEngine
        from codecard.generate.slots import SlotEngine
        from codecard.generate.stepper import holds, pads

        if not pads(loaded.model):
            from codecard.generate.naive import NaiveEngine

            return NaiveEngine(loaded, vocabulary.eos)
        kind = SlotEngine if holds(loaded.model) else BatchEngine
        return kind(loaded.model, vocabulary, self._batch_size)

    def _prepare(self, request: GenerationRequest) -> Row:
        from codecard.generate.rows import Row

        loaded = self._open()
        ids = encode(loaded.tokenizer, request)
        context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        return Row(request=request, ids=ids, room=room(request.sampling, len(ids), context, self._name))

    @classmethod
    def opened(cls, spec: ModelSpec, opening: Opening) -> Generator:
        model, revision, name = locate(spec)
        return cls(
            model,
            revision=revision,
            dtype=opening.dtype,
            device=opening.device,
            batch_size=opening.batch_size,
            name=name,
        )


open_model = TransformersGenerator.opened


def _default_batch(loaded: Loaded) -> int:
    """Rows that fit: on a GPU, as many caches of 1,024 tokens as four fifths of the free memory hold."""
    if not loaded.device.startswith("cuda"):
        return _CPU_BATCH
    import torch

    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * width * loaded.model.dtype.itemsize * 1024
    free, _ = torch.cuda.mem_get_info(loaded.device)
    return max(1, min(_GPU_BATCH, int(free * 0.8 / row)))


def _device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{device} {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else device
