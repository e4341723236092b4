"""Adapter: the plain way, one prompt at a time through transformers' own `generate`. Slow, and the oracle.

Nothing of the slot engine takes part: the library decodes, the library's decoder makes the text, and the stop
strings are looked for in that text. What the two have in common is the tokenised prompt, the end tokens and the
noise that samples a token.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from codecard.generate import noise
from codecard.generate.transformers_ import Engine, TransformersGenerator
from codecard.model import Completion, FinishReason

if TYPE_CHECKING:
    import torch

    from codecard.generate.loading import Loaded
    from codecard.generate.rows import Row, Vocabulary


class NaiveGenerator(TransformersGenerator):
    """Asks a model as `TransformersGenerator` does, with `generate` for each prompt by itself."""

    backend = "transformers-naive"

    def _make_engine(self, loaded: Loaded, vocabulary: Vocabulary) -> Engine:
        return NaiveEngine(loaded, vocabulary.eos)


open_model = NaiveGenerator.opened


class NaiveEngine:
    """`run` calls `generate` once a row. `post_truncate` lets a row run on to its length limit and cuts afterwards."""

    slots = 1

    def __init__(self, loaded: Loaded, eos: frozenset[int], *, post_truncate: bool = False) -> None:
        from transformers import GenerationConfig

        self._loaded = loaded
        self._eos = sorted(eos)
        self._post_truncate = post_truncate
        # Penalties and the like that a checkpoint brings would act here alone.
        loaded.model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]:
        for row in rows:
            started = time.perf_counter()
            if row.room < 1:
                yield row.completion(FinishReason.LENGTH)
                continue
            tokens = self._generate(row)
            yield self._completion(row, tokens, time.perf_counter() - started)

    def _generate(self, row: Row) -> list[int]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        inputs = torch.tensor([row.ids], device=self._loaded.model.device)
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=row.room,
            do_sample=False,
            eos_token_id=self._eos,
            pad_token_id=self._eos[0] if self._eos else 0,
        )
        stops = [] if self._post_truncate or not row.request.stops else [self._stop(row)]
        sampled = row.request.sampling.temperature > 0
        output: Any = self._loaded.model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Draw(row)] if sampled else []),
            stopping_criteria=StoppingCriteriaList(stops),
        )
        return [int(token) for token in output[0, len(row.ids) :].tolist()]

    def _stop(self, row: Row) -> Any:
        import torch

        def hit(input_ids: torch.Tensor, scores: torch.Tensor, **options: Any) -> torch.Tensor:
            text = self._text(input_ids[0, len(row.ids) :].tolist())
            return torch.tensor([_first(text, row.request.stops) >= 0], device=input_ids.device)

        return hit

    def _completion(self, row: Row, tokens: list[int], seconds: float) -> Completion:
        ended = bool(tokens) and tokens[-1] in self._eos
        text = self._text(tokens[:-1] if ended else tokens)
        reason = FinishReason.EOS if ended else FinishReason.LENGTH
        if (end := _first(text, row.request.stops)) >= 0:
            reason, text = FinishReason.STOP, text[:end] if self._post_truncate else text
        row.new = len(tokens)
        return replace(row.completion(reason, seconds), text=text)

    def _text(self, tokens: list[int]) -> str:
        text = self._loaded.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


class _Draw:
    """A logits processor that leaves one token standing: the one that the row's noise draws."""

    def __init__(self, row: Row) -> None:
        import torch

        request, sampling = row.request, row.request.sampling
        self._prompt = len(row.ids)
        self._key = torch.tensor([noise.row_key(request.seed, request.task, request.problem, request.sample)])
        settings = (sampling.temperature, sampling.top_p, sampling.top_k)
        self._settings = torch.tensor([settings], dtype=torch.float64)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        step = torch.tensor([input_ids.shape[1] - self._prompt], device=scores.device)
        key, settings = (tensor.to(scores.device) for tensor in (self._key, self._settings))
        token = noise.draw(scores.float(), settings, key, step)
        return torch.full_like(scores, float("-inf")).scatter_(1, token[:, None], 0.0)


def _first(text: str, stops: Iterable[str]) -> int:
    """Where the earliest stop string begins, -1 without one."""
    found = [text.find(stop) for stop in stops if stop]
    return min((at for at in found if at >= 0), default=-1)
