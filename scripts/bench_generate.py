#!/usr/bin/env python3
"""Tokens a second of the ways to ask a model, in one run: the slot engine, the reference's way, static batches.

    CODECARD_DATA=… scripts/bench_generate.py [--problems 20] [--samples 1] [--slots 20] [--rounds 3]
    scripts/bench_generate.py --device cuda | --device cpu --tiny

The first form asks the embedded model (float32, one thread, official MultiPL-E prompts with their stop tokens) and
counts CPU seconds of this process, which a busy machine does not change. Arms, interleaved, the median round counts:

  naive       one prompt at a time through `generate` (hf-naive:), the denominator
  reference   per problem, a batch of its samples, ended when every row has a stop (bigcode-evaluation-harness)
  static      left-padded batches of `--slots` rows sorted by prompt length, ended when every row has ended
  continuous  transformers' continuous batching, stopped from outside
  slots       ours

The second form asks a random model of Stable Code 3B's shape: see `scripts/bench_generate_gpu.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

LANGUAGES = ("cpp", "java", "js", "php", "rs")


@dataclass
class Work:
    """What an arm did: text up to the stop and useful tokens per row, and what that cost."""

    texts: dict[tuple[str, str, int], str] = field(default_factory=dict)
    useful: int = 0
    row_steps: int = 0
    prompt_tokens: int = 0
    prefilled: int = 0
    read: int = 0
    held: int = 0
    stop_s: float = 0.0
    cpu_s: float = 0.0

    def took(self, row: Any, text: str, tokens: int) -> None:
        found = [at for stop in row.request.stops if (at := text.find(stop)) >= 0]
        self.texts[row.request.id] = text[: min(found, default=len(text))]
        self.useful += tokens


class Bench:
    """The model, its tokenizer and the rows; every arm is a method that fills a `Work`."""

    def __init__(self, options: argparse.Namespace) -> None:
        from codecard.generate import GenerationRequest, open_generator
        from codecard.generate.stops import token_bytes
        from codecard.model import Sampling

        generator: Any = open_generator("embedded", device="cpu", dtype="float32", batch_size=options.slots)
        self.loaded = generator._open()
        self.model, self.tokenizer, self.eos = self.loaded.model, self.loaded.tokenizer, generator._eos
        self.pieces = token_bytes(self.tokenizer)
        self.slots = options.slots
        sampling = Sampling(temperature=options.temperature, top_p=0.95, max_new_tokens=options.new)
        self.requests = [
            GenerationRequest(task=t, problem=p, sample=s, prompt=text, stops=stops, sampling=sampling)
            for t, p, text, stops in problems(options.problems)
            for s in range(options.samples)
        ]
        self._prepare = generator._prepare

    def rows(self) -> list[Any]:
        return [self._prepare(request) for request in self.requests]

    def vocabulary(self) -> Any:
        from codecard.generate.rows import Vocabulary

        return Vocabulary(pieces=self.pieces, eos=self.eos)

    def slots_arm(self, work: Work) -> None:
        from codecard.generate.slots import SlotEngine

        rows = {row.request.id: row for row in self.rows()}
        with watched(work):
            for completion in SlotEngine(self.model, self.vocabulary(), self.slots).run(rows.values()):
                work.took(rows[completion.id], completion.text, completion.new_tokens or 0)

    def naive_arm(self, work: Work) -> None:
        from codecard.generate.naive import NaiveEngine

        rows = {row.request.id: row for row in self.rows()}
        for completion in NaiveEngine(self.loaded, self.eos).run(rows.values()):
            work.took(rows[completion.id], completion.text, completion.new_tokens or 0)
        work.row_steps = work.useful
        work.prompt_tokens = work.prefilled = sum(len(row.ids) for row in rows.values())

    def reference_arm(self, work: Work) -> None:
        by_problem: dict[tuple[str, str], list[Any]] = {}
        for row in self.rows():
            by_problem.setdefault(row.request.id[:2], []).append(row)
        for rows in by_problem.values():
            self._batch(work, rows, self._all_decoded(rows))

    def static_arm(self, work: Work) -> None:
        rows = sorted(self.rows(), key=lambda row: -len(row.ids))
        for first in range(0, len(rows), self.slots):
            batch = rows[first : first + self.slots]
            self._batch(work, batch, self._each_by_bytes(batch))

    def _batch(self, work: Work, rows: Sequence[Any], stop: Callable[..., Any]) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        width = max(len(row.ids) for row in rows)
        pad = min(self.eos)
        inputs = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in rows])
        mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows])
        self.model.generation_config = GenerationConfig()
        config = GenerationConfig(max_new_tokens=rows[0].room, eos_token_id=sorted(self.eos), pad_token_id=pad)
        draws = [Draws(rows, width)] if rows[0].request.sampling.temperature > 0 else []
        output = self.model.generate(
            inputs,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList(draws),
            stopping_criteria=StoppingCriteriaList([stop]),
        )
        new = output[:, width:].tolist()
        for row, tokens in zip(rows, new, strict=True):
            kept, text = self._cut(row, tokens)
            work.took(row, text, kept)
        work.row_steps += len(rows) * len(new[0])
        work.prompt_tokens += sum(len(row.ids) for row in rows)
        work.prefilled += len(rows) * width

    def _cut(self, row: Any, tokens: Sequence[int]) -> tuple[int, str]:
        """Tokens up to the row's own end, and their text: what a batch adds after that is waste."""
        from codecard.generate.rows import advance

        row.begin()
        for token in tokens:
            if advance(row, token, self.vocabulary()) is not None:
                break
        return row.new, row.tail.text

    def _all_decoded(self, rows: Sequence[Any]) -> Callable[..., Any]:
        """The reference's criterion: decode every row whole, end when each holds a stop string."""
        import torch

        start = len(rows[0].ids)
        ends = [self.tokenizer.decode([token]) for token in sorted(self.eos)]

        def stop(input_ids: Any, scores: Any, **options: Any) -> Any:
            texts = self.tokenizer.batch_decode(input_ids[:, start:])
            hit = all(any(s in text for s in (*rows[0].request.stops, *ends)) for text in texts)
            return torch.full((len(rows),), hit)

        return stop

    def _each_by_bytes(self, rows: Sequence[Any]) -> Callable[..., Any]:
        """Each row's own stop strings, by the cheap test; a row that has ended is padded until the last one has."""
        import torch

        from codecard.generate.stops import Tail

        tails = [Tail(row.request.stops) for row in rows]
        done = torch.zeros(len(rows), dtype=torch.bool)

        def stop(input_ids: Any, scores: Any, **options: Any) -> Any:
            for place, token in enumerate(input_ids[:, -1].tolist()):
                if not done[place] and tails[place].feed(self.pieces[token] if token < len(self.pieces) else b""):
                    done[place] = True
            return done.clone()

        return stop

    def continuous_arm(self, work: Work) -> None:
        """Greedy only: it has one seed for all rows. Streams, so that a row can be stopped from outside."""
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        rows = {f"{n}": row for n, row in enumerate(self.rows())}
        for row in rows.values():
            row.begin()
        most = max(len(row.ids) + row.room for row in rows.values())
        config = GenerationConfig(do_sample=False, max_new_tokens=next(iter(rows.values())).room)
        config.eos_token_id, config.pad_token_id = sorted(self.eos), min(self.eos)
        batching = ContinuousBatchingConfig(
            num_blocks=self.slots * (most // 256 + 2), max_batch_tokens=1024, max_requests_per_batch=self.slots
        )
        with self.model.continuous_batching_context_manager(
            generation_config=config, continuous_batching_config=batching
        ) as manager:
            for name, row in rows.items():
                manager.add_request(row.ids, request_id=name, max_new_tokens=row.room, streaming=True)
            self._stream(work, manager, rows)

    def _stream(self, work: Work, manager: Any, rows: dict[str, Any]) -> None:
        from codecard.generate.rows import advance

        seen = dict.fromkeys(rows, 0)
        running = set(rows)
        while running:
            output = manager.get_result(timeout=60)
            if output is None:
                raise RuntimeError("continuous batching gave no token in a minute")
            if output.request_id not in running:
                continue
            row = rows[output.request_id]
            tokens = list(output.generated_tokens)
            for token in tokens[seen[output.request_id] :]:
                work.row_steps += 1
                if advance(row, token, self.vocabulary()) is not None:
                    manager.cancel_request(output.request_id)
                    running.discard(output.request_id)
                    work.took(row, row.tail.text, row.new)
                    break
            seen[output.request_id] = len(tokens)
        work.prompt_tokens = work.prefilled = sum(len(row.ids) for row in rows.values())


class Draws:
    """The rows' own noise in a batch, as a logits processor: one token of each row is left standing."""

    def __init__(self, rows: Sequence[Any], width: int) -> None:
        from codecard.generate import noise

        self._width = width
        self._keys, self._settings = noise.keys_and_settings([row.request for row in rows], "cpu")

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        from codecard.generate import noise

        step = torch.full((len(scores),), input_ids.shape[1] - self._width)
        tokens = noise.draw(scores.float(), self._settings, self._keys, step)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)


@contextmanager
def watched(work: Work) -> Iterator[None]:
    """Count what the slot engine computes, and what its stop test costs."""
    from codecard.generate import slots
    from codecard.generate.rows import advance
    from codecard.generate.stepper import Stepper

    prefill, step, forward = Stepper._prefill, Stepper.step, Stepper._forward

    def counted_prefill(stepper: Any, prompts: dict[int, list[int]], width: int) -> None:
        work.prompt_tokens += sum(len(ids) for ids in prompts.values())
        work.prefilled += len(prompts) * width
        prefill(stepper, prompts, width)

    def counted_step(stepper: Any, live: int) -> list[int]:
        work.row_steps += live
        work.held += sum(stepper._at[:live]) + live
        return step(stepper, live)

    def counted_forward(stepper: Any, rows: int, width: int) -> Any:
        work.read += rows * width
        return forward(stepper, rows, width)

    def timed_advance(row: Any, token: int, vocabulary: Any) -> Any:
        start = time.perf_counter()
        reason = advance(row, token, vocabulary)
        work.stop_s += time.perf_counter() - start
        return reason

    with (
        mock.patch.object(Stepper, "_prefill", counted_prefill),
        mock.patch.object(Stepper, "step", counted_step),
        mock.patch.object(Stepper, "_forward", counted_forward),
        mock.patch.object(slots, "advance", timed_advance),
    ):
        yield


def problems(count: int) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Task, problem, prompt and stop tokens: as many of each language, from the first on."""
    data = os.environ.get("CODECARD_DATA")
    if not data:
        sys.exit("set CODECARD_DATA")
    found = []
    for place, language in enumerate(LANGUAGES):
        lines = (Path(data) / f"multipl_e/humaneval-{language}.jsonl").read_text().splitlines()
        share = count // len(LANGUAGES) + (place < count % len(LANGUAGES))
        for row in map(json.loads, lines[:share]):
            found.append((f"multipl_e/{language}", row["name"], row["prompt"].strip(), tuple(row["stop_tokens"])))
    return found


def measure(bench: Bench, arms: Sequence[str], rounds: int) -> dict[str, list[Work]]:
    found: dict[str, list[Work]] = {arm: [] for arm in arms}
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else list(reversed(arms)):
            work = Work()
            start = time.process_time()
            getattr(bench, f"{arm}_arm")(work)
            work.cpu_s = time.process_time() - start
            found[arm].append(work)
            print(f"# round {number + 1}: {arm} {work.useful / work.cpu_s:.1f} tokens/CPU-s", file=sys.stderr)
    return found


def report(found: dict[str, list[Work]], slots: int) -> None:
    first = next(iter(found))
    truth = found[first][0].texts
    base = [work.useful / work.cpu_s for work in found[first]]
    print(f"| arm | useful tokens/CPU-s | ÷ {first} | row-steps | useful | prompt tokens computed | rows equal |")
    print("|---|---|---|---|---|---|---|")
    for arm, works in found.items():
        rates = [work.useful / work.cpu_s for work in works]
        ratio = statistics.median(rate / other for rate, other in zip(rates, base, strict=True))
        last = works[-1]
        equal = min(sum(work.texts.get(row) == text for row, text in truth.items()) for work in works)
        print(
            f"| {arm} | {statistics.median(rates):.1f} | {ratio:.2f} | {last.row_steps} | {last.useful} | "
            f"{last.prefilled} | {equal}/{len(truth)} |"
        )
    if not (ours := found.get("slots")):
        return
    work = ours[-1]
    print(
        f"\n{slots} slots: stop test {statistics.median(w.stop_s / w.cpu_s for w in ours):.2%} of the time; "
        f"{1 - work.prompt_tokens / work.prefilled:.1%} of the prefill and "
        f"{1 - work.held / work.read:.1%} of the columns read are padding"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--temperature", type=float, help="0 for one sample, else 0.8")
    parser.add_argument("--new", type=int, default=96, help="new tokens at most")
    parser.add_argument("--slots", help="default 20; with --device a list, default 1,64,192")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", help="of those above, and vllm with --device; separated by commas")
    parser.add_argument("--device", help="cuda or cpu: random weights of Stable Code 3B's shape")
    parser.add_argument("--tiny", action="store_true", help="with --device: two narrow layers")
    parser.add_argument("--requests", type=int, default=512, help="with --device")
    options = parser.parse_args()
    if options.device:
        import bench_generate_gpu

        options.slots = options.slots or "1,64,192"
        options.arms = options.arms or "naive,static,continuous,vllm,slots"
        bench_generate_gpu.main(options)
        return
    options.slots = int(options.slots or 20)
    options.arms = options.arms or "naive,reference,static,continuous,slots"
    if options.temperature is None:
        options.temperature = 0.0 if options.samples == 1 else 0.8
    import torch

    torch.set_num_threads(1)
    bench = Bench(options)
    arms = options.arms.split(",")
    if options.temperature > 0 and "continuous" in arms:
        arms.remove("continuous")  # it has one seed for all rows, so its samples are others
    bench.requests, whole = bench.requests[:2], bench.requests
    for arm in arms:  # warm up
        getattr(bench, f"{arm}_arm")(Work())
    bench.requests = whole
    report(measure(bench, arms, options.rounds), options.slots)


if __name__ == "__main__":
    main()
