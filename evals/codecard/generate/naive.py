"""The plain way: one prompt at a time through transformers' own `generate`. Slow, and the oracle.

Nothing of the slot engine takes part: the library decodes, the library's decoder makes the text, and the stop strings
are looked for in that text. Tokenised prompt, end tokens and the noise that samples a token are common to the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from codecard.generate import noise
from codecard.generate.loading import Loaded
from codecard.generate.rows import Row
from codecard.model import Completion, FinishReason


class NaiveEngine:
    """`run` calls `generate` once a row."""

    def __init__(self, loaded: Loaded, eos: frozenset[int]) -> None:
        self._loaded = loaded
        self._eos = sorted(eos)
        # Penalties and the like that a checkpoint brings would act here alone.
        loaded.model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]:
        for row in rows:
            if row.room < 1:
                yield row.completion(FinishReason.LENGTH)
                continue
            row.begin()
            tokens = self._generate(row)
            row.new = len(tokens)
            ended = tokens[-1] in self._eos
            text = self._text(tokens[:-1] if ended else tokens)
            reason = FinishReason.EOS if ended else FinishReason.LENGTH
            if _stops(row, text):
                reason = FinishReason.STOP
            yield replace(row.completion(reason), text=text)

    def _generate(self, row: Row) -> list[int]:
        device = self._loaded.model.device
        inputs = torch.tensor([row.ids], device=device)
        draws = [_drawn(row, device)] if row.request.sampling.temperature > 0 else []

        def stopped(input_ids: torch.Tensor, scores: torch.Tensor, **options: Any) -> torch.Tensor:
            text = self._text(input_ids[0, len(row.ids) :].tolist())
            return torch.tensor([_stops(row, text)], device=input_ids.device)

        ends: dict[str, Any] = {"eos_token_id": self._eos, "pad_token_id": self._eos[0] if self._eos else 0}
        config = GenerationConfig(max_new_tokens=row.room, do_sample=False, **ends)  # type: ignore[no-untyped-call]
        output: Any = self._loaded.model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=config,
            logits_processor=LogitsProcessorList(draws),
            stopping_criteria=StoppingCriteriaList([stopped] if row.request.stops else []),
        )
        return [int(token) for token in output[0, len(row.ids) :].tolist()]

    def _text(self, tokens: list[int]) -> str:
        return str(self._loaded.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _stops(row: Row, text: str) -> bool:
    return any(stop in text for stop in row.request.stops if stop)


def _drawn(row: Row, device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A logits processor that leaves one token standing: the one that the row's noise draws."""
    keys, settings = noise.keys_and_settings([row.request], device)

    def only(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = torch.tensor([input_ids.shape[1] - len(row.ids)], device=scores.device)
        token = noise.draw(scores.float(), settings, keys, step)
        return torch.full_like(scores, float("-inf")).scatter_(1, token[:, None], 0.0)

    return only
