"""Adapter: vLLM's offline engine on this machine, asked a step at a time.

Requests enter the engine as token ids made by the same rule as for transformers, and rows leave it as token ids that
are read by the same stop matcher: the engine's own stop strings and text only save time, they decide nothing.

What a seed promises is vLLM's own: the same row on the same version and device, where logits do not move with the
batch. In bfloat16 they do, unless `VLLM_BATCH_INVARIANT=1` (which needs a GPU that has it).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from codecard.generate.backends import Opening, locate
from codecard.generate.loading import device_name, dtype_of, end_tokens, find, libraries, tokenizer_of
from codecard.generate.port import GenerationRequest, Generator
from codecard.generate.prompts import prepared, tokenizer_print
from codecard.generate.rows import Row, Vocabulary, advance
from codecard.generate.stops import token_bytes
from codecard.model import Completion, FinishReason, InfrastructureError, UsageError
from codecard.settings import ModelSpec
from codecard.text import first_line

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
    """Asks a folder or a Hub id. vLLM decodes fewer rows together than it is told where its cache is too small."""

    def __init__(self, spec: ModelSpec, opening: Opening) -> None:
        if opening.device is not None:
            raise UsageError(f"model {spec.text!r}: vLLM runs on the device that it was built for; give no --device")
        model, revision, self._name = locate(spec)
        self._vllm = _library()
        source = find(model, revision)
        self._platform = self._vllm.platforms.current_platform
        self._on_cpu = bool(self._platform.is_cpu())
        self._dtype = dtype_of(opening.dtype, "cpu" if self._on_cpu else "cuda")
        self._batch_size = opening.batch_size or (_CPU_ROWS if self._on_cpu else _GPU_ROWS)
        self._tokenizer = tokenizer_of(source)
        self._engine: Any = self._start(source.model, source.revision)
        configs = _configs(source.model, source.revision)
        self._revision = source.version(configs[0])
        self._eos = end_tokens(self._tokenizer, *configs)
        self._context = int(self._engine.model_config.max_model_len)
        self._vocabulary = Vocabulary(pieces=token_bytes(self._tokenizer), eos=self._eos)
        self._numbers = itertools.count()

    def fingerprint(self) -> dict[str, Any]:
        self._open()
        versions = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
        return {
            "model": self._name,
            "revision": self._revision,
            "backend": "vllm",
            "dtype": self._dtype,
            "device": device_name("cpu") if self._on_cpu else str(self._platform.get_device_name()),
            **tokenizer_print(self._tokenizer),
            "eos_token_ids": sorted(self._eos),
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0") == "1",
            "versions": {"vllm": self._vllm.__version__, **versions},
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """No more requests are held than rows are decoded."""
        engine = self._open()
        pending = iter(requests)
        rows: dict[str, Row] = {}
        try:
            while True:
                while len(rows) < self._batch_size and (request := next(pending, None)) is not None:
                    row = prepared(self._tokenizer, request, self._context, self._name)
                    if row.room < 1:
                        yield row.completion(FinishReason.LENGTH)
                        continue
                    name = str(next(self._numbers))
                    engine.add_request(name, {"prompt_token_ids": row.ids}, self._parameters(row))
                    rows[name] = row
                if not rows:
                    return
                done = [output for output in engine.step() if output.finished]
                for row, made in [(rows.pop(output.request_id), output.outputs[0]) for output in done]:
                    yield row.completion(_read(row, made, self._vocabulary))
        finally:
            if rows and self._engine is not None:  # left early: the engine must not go on with them
                engine.abort_request(list(rows))

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
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
                enable_prefix_caching=True,  # samples of a problem share its prompt
                enforce_eager=self._on_cpu,  # compiling for a CPU takes minutes
                generation_config="vllm",  # a model's own sampling defaults are not ours
                trust_remote_code=False,
                disable_log_stats=True,
                use_tqdm_on_load=False,
            )
        except (ValueError, RuntimeError, OSError) as error:
            cause = first_line(error, 300)
            raise InfrastructureError(f"vllm:{self._name}: the engine did not start: {cause}") from error
        return llm.llm_engine

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


open_model = VllmGenerator


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
    """Take the engine's tokens up to the one that ends the row by our own rule; why it ended. A row that the rule does
    not end was ended by the engine, whose own reason is then all that is known."""
    for token in made.token_ids:
        if reason := advance(row, token, vocabulary):
            return reason
    known = {"length": FinishReason.LENGTH, "stop": FinishReason.STOP}
    return known.get(str(made.finish_reason), FinishReason.UNKNOWN)
