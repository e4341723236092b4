"""Adapter: vLLM's offline engine on this machine, asked a step at a time.

Requests enter the engine as token ids made by the same rule as for transformers, and rows leave it as token
ids that are read by the same stop matcher: the engine's own stop strings and text only save time, they decide
nothing. A row's seed comes from (seed, task, problem, sample); samples of one problem share its prefilled
prompt through the prefix cache.

What a seed promises is vLLM's own: the same row on the same version and device, where logits do not move with
the batch. In bfloat16 they do, unless `VLLM_BATCH_INVARIANT=1` (which needs a GPU that has it).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from codecard.generate.backends import Opening, locate
from codecard.generate.loading import dtype_of, end_tokens, find, libraries, tokenizer_of
from codecard.generate.port import GenerationRequest, Generator
from codecard.generate.prompts import encode, room, tokenizer_print
from codecard.generate.rows import Row, Vocabulary, advance
from codecard.generate.stops import token_bytes
from codecard.model import Completion, FinishReason, InfrastructureError, UsageError
from codecard.settings import ModelSpec

_CPU_ROWS = 32
_GPU_ROWS = 256
_SETTINGS = {
    # In this process, scheduled in the order asked: with an engine process of its own the batches, and in
    # bfloat16 therefore the tokens, depend on timing.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # vLLM would bind this process, and with it every program that is run meanwhile, to single cores, and take
    # most of the memory for its cache (GiB).
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "4",
}


class VllmGenerator(Generator):
    """Asks `model`, a folder or a Hub id. `name` is what results call it.

    `batch_size` is the number of rows decoded together; vLLM holds fewer where its cache is too small.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str | None = None,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch size must be at least 1, not {batch_size}")
        self._vllm = _library()
        source = find(model, revision)
        self._name = name or model
        self._on_cpu = bool(self._vllm.platforms.current_platform.is_cpu())
        self._dtype = dtype_of(dtype, "cpu" if self._on_cpu else "cuda")
        self._batch_size = batch_size or (_CPU_ROWS if self._on_cpu else _GPU_ROWS)
        self._tokenizer = tokenizer_of(source)
        self._engine: Any = self._start(source.model, source.revision)
        configs = _configs(source.model, source.revision)
        self._revision = source.version(configs[0])
        self._eos = end_tokens(self._tokenizer, *configs)
        self._context = int(self._engine.model_config.max_model_len)
        self._vocabulary: Vocabulary | None = None
        self._numbers = itertools.count()

    def fingerprint(self) -> dict[str, Any]:
        """What decides the output, all JSON. Hashes are the first 16 hex digits of sha256."""
        import tokenizers
        import torch
        import transformers

        self._open()
        return {
            "model": self._name,
            "revision": self._revision,
            "backend": "vllm",
            "dtype": self._dtype,
            "device": self._device(),
            **tokenizer_print(self._tokenizer),
            "eos_token_ids": sorted(self._eos),
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0") == "1",
            "versions": {
                "vllm": self._vllm.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
            },
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """Yield a completion per request as it finishes; no more requests are held than rows are decoded.

        A prompt that leaves no room within its limits or the model's context gives an empty completion that
        ends by length; it is never cut. `UsageError` if a dialogue is asked of a tokenizer without template.
        """
        engine = self._open()
        self._vocabulary = self._vocabulary or Vocabulary(pieces=token_bytes(self._tokenizer), eos=self._eos)
        pending = iter(requests)
        rows: dict[str, tuple[Row, float]] = {}
        try:
            while True:
                while len(rows) < self._batch_size and (request := next(pending, None)) is not None:
                    row = self._prepare(request)
                    if row.room < 1:
                        yield row.completion(FinishReason.LENGTH)
                        continue
                    name = str(next(self._numbers))
                    engine.add_request(name, {"prompt_token_ids": row.ids}, self._parameters(row))
                    rows[name] = (row, time.monotonic())
                if not rows:
                    return
                done = [output for output in engine.step() if output.finished]
                for (row, started), made in [(rows.pop(output.request_id), output.outputs[0]) for output in done]:
                    reason = _read(row, made, self._vocabulary)
                    yield row.completion(reason, time.monotonic() - started)
        finally:
            if rows and self._engine is not None:  # left early: the engine must not go on with them
                engine.abort_request(list(rows))

    def close(self) -> None:
        """Let go of the engine and its memory."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        import gc

        engine.engine_core.shutdown()
        del engine
        gc.collect()
        self._vllm.distributed.cleanup_dist_env_and_memory()

    def _open(self) -> Any:
        if self._engine is None:
            raise UsageError(f"generator for {self._name} is closed")
        return self._engine

    def _start(self, model: str, revision: str | None) -> Any:
        try:
            llm = self._vllm.LLM(
                model=model,
                revision=revision,
                dtype=self._dtype,
                max_num_seqs=self._batch_size,
                enable_prefix_caching=True,
                enforce_eager=self._on_cpu,  # compiling for a CPU takes minutes
                generation_config="vllm",  # a model's own sampling defaults are not ours
                trust_remote_code=False,
                disable_log_stats=True,
                use_tqdm_on_load=False,
            )
        except (ValueError, RuntimeError, OSError) as error:
            cause = " ".join(str(error).split())[:300] or type(error).__name__
            raise InfrastructureError(f"vllm:{self._name}: the engine did not start: {cause}") from error
        return llm.llm_engine

    def _prepare(self, request: GenerationRequest) -> Row:
        ids = encode(self._tokenizer, request)
        return Row(request=request, ids=ids, room=room(request.sampling, len(ids), self._context, self._name))

    def _parameters(self, row: Row) -> Any:
        request, sampling = row.request, row.request.sampling
        sampled = sampling.temperature > 0
        stops = [stop for stop in request.stops if stop]
        return self._vllm.SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampled else 1.0,
            top_k=sampling.top_k if sampled else 0,
            seed=request.row_seed if sampled else None,
            max_tokens=row.room,
            stop=stops or None,
            stop_token_ids=sorted(self._eos),
            include_stop_str_in_output=True,
            skip_special_tokens=False,  # a special token's text counts as text, as in our own matcher
            detokenize=bool(stops),
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _device(self) -> str:
        import torch

        if self._on_cpu:
            return f"cpu {torch.backends.cpu.get_cpu_capability()}"
        return str(self._vllm.platforms.current_platform.get_device_name())


def open_model(spec: ModelSpec, opening: Opening) -> Generator:
    if opening.device is not None:
        raise UsageError(f"model {spec.text!r}: vLLM runs on the device that it was built for; give no --device")
    model, revision, name = locate(spec)
    return VllmGenerator(model, revision=revision, dtype=opening.dtype, batch_size=opening.batch_size, name=name)


def _library() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    libraries()
    try:
        import vllm
        import vllm.distributed
        import vllm.platforms
        import vllm.sampling_params
    except ImportError as error:
        raise InfrastructureError(f"vllm: needs {error.name or error}: pip install 'codecard[vllm]'") from error
    return vllm


def _configs(model: str, revision: str | None) -> list[Any]:
    """The model's config and, where it has one, its generation config."""
    from transformers import AutoConfig, GenerationConfig

    at: dict[str, Any] = {"revision": revision}
    found: list[Any] = [AutoConfig.from_pretrained(model, **at)]
    with contextlib.suppress(OSError):  # it has none
        found.append(GenerationConfig.from_pretrained(model, **at))
    return found


def _read(row: Row, made: Any, vocabulary: Vocabulary) -> FinishReason:
    """Take the engine's tokens up to the one that ends the row by our own rule; why it ended.

    A row that the rule does not end was ended by the engine, whose own reason is then all that is known.
    """
    for token in made.token_ids:
        if reason := advance(row, token, vocabulary):
            return reason
    known = {"length": FinishReason.LENGTH, "stop": FinishReason.STOP}
    return known.get(str(made.finish_reason), FinishReason.UNKNOWN)
