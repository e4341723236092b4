#!/usr/bin/env python3
"""The second form of `bench_generate`: Stable Code 3B's shape with random weights, rows of recorded lengths.

    CODECARD_DATA=… scripts/bench_generate.py --device cuda [--requests 512] [--slots 1,64,192] [--arms …]
    CODECARD_DATA=… scripts/bench_generate.py --device cpu --tiny

No weights are fetched. No row has an end token or a stop: a row is as long as the recorded answer to its prompt
(official MultiPL-E prompts, recorded answers, characters over 2.9, which is what the embedded model's tokenizer
gives them). Every arm computes the same list; `naive` and one slot take its first 32 rows. The roofline is the
bytes that the steps must read (all weights but the input table, and the keys and values of the live rows) over the
bandwidth of a copy on this device, measured first. Before anything is timed, a float32 copy of two layers must give
the tokens of the plain way on this device. `--tiny` is two narrow layers, so that the script can be tried anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

CHARACTERS_PER_TOKEN = 2.9
SHAPE: dict[str, Any] = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 16384,
    "layer_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
    "tie_word_embeddings": False,
}
TINY = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 4, "num_hidden_layers": 2}  # fmt: skip
FEW = 32


@dataclass
class Timing:
    """One round of an arm: tokens generated, seconds in all, seconds and bytes of its decode steps where known."""

    tokens: int
    seconds: float
    step_s: float = 0.0
    bytes: int = 0


class GpuBench:
    def __init__(self, options: argparse.Namespace) -> None:
        import torch
        from transformers import GenerationConfig, StableLmConfig, StableLmForCausalLM

        self.device = torch.device(options.device)
        self.config = StableLmConfig(**(SHAPE | TINY if options.tiny else SHAPE))
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        torch.manual_seed(0)
        with self.device:
            before = torch.get_default_dtype()
            torch.set_default_dtype(dtype)
            self.model = StableLmForCausalLM(self.config).eval()
            torch.set_default_dtype(before)
        self.model.generation_config = GenerationConfig()
        self.lengths = lengths(options.requests, small=options.tiny)
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        table = self.model.get_input_embeddings().weight
        self.weight_bytes = weights - table.numel() * table.element_size()
        width = self.config.hidden_size // self.config.num_attention_heads * self.config.num_key_value_heads
        self.column_bytes = 2 * self.config.num_hidden_layers * width * table.element_size()

    def rows(self, count: int | None = None) -> list[Any]:
        import torch

        from codecard.generate import GenerationRequest
        from codecard.generate.rows import Row
        from codecard.model import Sampling

        draw = torch.Generator().manual_seed(1)
        rows = []
        for n, (prompt, new) in enumerate(self.lengths[:count]):
            ids = torch.randint(self.config.vocab_size, (prompt,), generator=draw).tolist()
            request = GenerationRequest(task="t", problem=str(n), sample=0, prompt="", sampling=Sampling())
            rows.append(Row(request=request, ids=ids, room=new))
        return rows

    def vocabulary(self) -> Any:
        """Every token's text is its number, so that texts are tokens."""
        from codecard.generate.rows import Vocabulary

        return Vocabulary(pieces=[f"{n} ".encode() for n in range(self.config.vocab_size)], eos=frozenset())

    def slots_arm(self, slots: int) -> Timing:
        from codecard.generate.slots import SlotEngine

        rows = self.rows(FEW if slots == 1 else None)
        engine = SlotEngine(self.model, self.vocabulary(), slots)
        counts = Timing(tokens=sum(row.room for row in rows), seconds=0.0)
        with self._steps(counts):
            counts.seconds = self._timed(lambda: list(engine.run(rows)))
        if engine.slots != slots:
            print(f"# {slots} slots did not fit: {engine.slots}", file=sys.stderr)
        return counts

    @contextmanager
    def _steps(self, counts: Timing) -> Iterator[None]:
        """A step ends when its tokens are on the host, so wall time around it is its own."""
        from codecard.generate.stepper import Stepper

        real = Stepper.step

        def step(stepper: Any, live: int) -> list[int]:
            counts.bytes += self.weight_bytes + self.column_bytes * (sum(stepper._at[:live]) + live)
            start = time.perf_counter()
            tokens = real(stepper, live)
            counts.step_s += time.perf_counter() - start
            return tokens

        with mock.patch.object(Stepper, "step", step):
            yield

    def naive_arm(self, slots: int) -> Timing:
        from codecard.generate.loading import Loaded
        from codecard.generate.naive import NaiveEngine

        rows = self.rows(FEW)
        # No end tokens and no text: the tokenizer is never asked for more than its numbers.
        tokenizer = SimpleNamespace(decode=lambda tokens, **options: "".join(f"{token} " for token in tokens))
        loaded = Loaded(model=self.model, tokenizer=tokenizer, revision="", dtype="", device=str(self.device))
        engine = NaiveEngine(loaded, frozenset())
        return Timing(tokens=sum(row.room for row in rows), seconds=self._timed(lambda: list(engine.run(rows))))

    def static_arm(self, slots: int) -> Timing:
        import torch
        from transformers import GenerationConfig

        rows = sorted(self.rows(), key=lambda row: -len(row.ids))

        def run() -> None:
            for first in range(0, len(rows), slots):
                batch = rows[first : first + slots]
                width = max(len(row.ids) for row in batch)
                inputs = torch.tensor([[0] * (width - len(row.ids)) + row.ids for row in batch], device=self.device)
                mask = torch.tensor([[0] * (width - len(r.ids)) + [1] * len(r.ids) for r in batch], device=self.device)
                longest = max(row.room for row in batch)
                config = GenerationConfig(max_new_tokens=longest, min_new_tokens=longest, pad_token_id=0)
                self.model.generate(inputs, attention_mask=mask, generation_config=config)

        return Timing(tokens=sum(row.room for row in rows), seconds=self._timed(run))

    def continuous_arm(self, slots: int) -> Timing:
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        rows = self.rows()
        config = GenerationConfig(do_sample=False, max_new_tokens=max(row.room for row in rows), pad_token_id=0)
        config.eos_token_id = -1
        batching = ContinuousBatchingConfig(max_requests_per_batch=slots)
        if self.device.type == "cpu":
            batching = ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=512, max_requests_per_batch=slots)

        def run() -> None:
            with self.model.continuous_batching_context_manager(
                generation_config=config, continuous_batching_config=batching
            ) as manager:
                for n, row in enumerate(rows):
                    manager.add_request(row.ids, request_id=str(n), max_new_tokens=row.room)
                for _ in rows:
                    output = manager.get_result(timeout=300)
                    if output is None or len(output.generated_tokens) != rows[int(output.request_id)].room:
                        raise RuntimeError(f"continuous batching failed: {getattr(output, 'error', 'no answer')}")

        return Timing(tokens=sum(row.room for row in rows), seconds=self._timed(run))

    def vllm_arm(self, slots: int) -> Timing:
        """Random weights of its own; one engine for all rounds."""
        from vllm import LLM, SamplingParams

        rows = self.rows()
        if not hasattr(self, "_vllm"):
            folder = tempfile.mkdtemp()
            self.config.architectures = ["StableLmForCausalLM"]
            self.config.save_pretrained(folder)
            self._vllm = LLM(folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16",
                             max_model_len=2048, max_num_seqs=slots, gpu_memory_utilization=0.6)  # fmt: skip
        asked = [SamplingParams(temperature=0.0, max_tokens=r.room, ignore_eos=True, detokenize=False) for r in rows]
        prompts = [{"prompt_token_ids": row.ids} for row in rows]
        return Timing(
            tokens=sum(row.room for row in rows),
            seconds=self._timed(lambda: self._vllm.generate(prompts, asked, use_tqdm=False)),
        )

    def _timed(self, run: Callable[[], Any]) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def check(self) -> str:
        """Ours against `generate` on this device, float32, two layers of the same shape."""
        import copy

        import torch
        from transformers import StableLmForCausalLM

        from codecard.generate.slots import SlotEngine

        config = copy.deepcopy(self.config)
        config.num_hidden_layers = 2
        with self.device:
            model = StableLmForCausalLM(config).eval()
        equal = 0
        rows = [row for row in self.rows(24) if row.room > 1]
        for row in rows:
            row.room = min(row.room, 48)
        found = {c.problem: c.text.split() for c in SlotEngine(model, self.vocabulary(), 8).run(rows)}
        for row in rows:
            inputs = torch.tensor([row.ids], device=self.device)
            output = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=row.room,
                                    do_sample=False, eos_token_id=None, pad_token_id=0)  # fmt: skip
            wanted = [str(token) for token in output[0, len(row.ids) :].tolist()]
            equal += found[row.request.problem] == wanted
        return f"{equal} of {len(rows)} rows equal"

    def bandwidth(self) -> float:
        """Bytes a second of a copy, read and written bytes both counted; the best of five."""
        import torch

        size = 1 << (30 if self.device.type == "cuda" else 26)
        source = torch.empty(size, dtype=torch.uint8, device=self.device).fill_(1)
        target = torch.empty_like(source)
        seconds = []
        for _ in range(5):
            seconds.append(self._timed(lambda: [target.copy_(source) for _ in range(10)]) / 10)
        return 2 * size / min(seconds)


def lengths(count: int, *, small: bool) -> list[tuple[int, int]]:
    """(Prompt tokens, new tokens) of the recorded answers, in the order of the files, again from the start if short."""
    data = os.environ.get("CODECARD_DATA")
    if not data:
        sys.exit("set CODECARD_DATA")
    found = []
    for path in sorted((Path(data) / "completions").glob("reference.*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            if row["set"] != "gpt":
                continue
            both, new = len(row["program"]), len(row["completion"])
            prompt = row["program"].find(row["completion"])
            if 0 < prompt < both and new:
                found.append((max(1, round(prompt / CHARACTERS_PER_TOKEN)), max(1, round(new / CHARACTERS_PER_TOKEN))))
    if small:
        found = [(max(1, prompt // 8), max(1, new // 8)) for prompt, new in found]
    return [found[n % len(found)] for n in range(count)]


def main(options: argparse.Namespace) -> None:
    import torch
    import transformers

    bench = GpuBench(options)
    name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "CPU"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    bandwidth = bench.bandwidth()
    means = [statistics.mean(side) for side in zip(*bench.lengths, strict=True)]
    print(f"{name}, {versions}; a copy moves {bandwidth / 1e9:.0f} GB/s")
    print(f"{len(bench.lengths)} rows, {means[0]:.0f} prompt and {means[1]:.0f} new tokens on average")
    print(f"float32, two layers, against `generate` on this device: {bench.check()}\n")
    report(measure(bench, options), bandwidth)
    if bench.device.type == "cuda":
        print(f"\npeak memory {torch.cuda.max_memory_allocated(bench.device) / 2**30:.1f} GiB")


def measure(bench: GpuBench, options: argparse.Namespace) -> dict[tuple[str, int], list[Timing]]:
    """Rounds of every arm, interleaved; the first warms up and is not counted."""
    asked = options.arms.split(",")
    arms = [(arm, 1 if arm == "naive" else 64) for arm in asked if arm != "slots"]
    arms += [("slots", int(slots)) for slots in options.slots.split(",") if "slots" in asked]
    found: dict[tuple[str, int], list[Timing]] = {arm: [] for arm in arms}
    for number in range(options.rounds + 1):
        for arm, slots in list(found) if number % 2 else list(reversed(found)):
            try:
                timing = getattr(bench, f"{arm}_arm")(slots)
            except (ImportError, RuntimeError) as error:  # an arm that is not here or does not work is left out
                print(f"# {arm} left out: {error}", file=sys.stderr)
                del found[arm, slots]
                continue
            print(f"# round {number}: {arm} {slots}: {timing.tokens / timing.seconds:.1f} tokens/s", file=sys.stderr)
            if number:
                found[arm, slots].append(timing)
    return found


def report(found: dict[tuple[str, int], list[Timing]], bandwidth: float) -> None:
    print("| arm | rows at once | tokens/s | of the roofline, steps alone | with prefill |")
    print("|---|---|---|---|---|")
    for (arm, slots), timings in found.items():
        rate = statistics.median(timing.tokens / timing.seconds for timing in timings)
        shares = ["–", "–"]
        if timings[0].bytes:
            least = [timing.bytes / bandwidth for timing in timings]
            pairs = list(zip(least, timings, strict=True))
            shares = [
                f"{statistics.median(seconds / timing.step_s for seconds, timing in pairs):.0%}",
                f"{statistics.median(seconds / timing.seconds for seconds, timing in pairs):.0%}",
            ]
        print(f"| {arm} | {slots} | {rate:.1f} | {shares[0]} | {shares[1]} |")
