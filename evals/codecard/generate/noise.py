"""Randomness that belongs to a row, not to a batch.

The noise of a row is a pure function of (seed, task, problem, sample, step, token id): a counter-based generator,
Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by a sha256. A token is
drawn by the Gumbel-max rule: argmax of log-probability plus Gumbel noise over the tokens that top-k and top-p keep. So
sample 3 is the same in a run of 5 and of 50, a resumed run needs no stored state, and fewest tokens flip when logits
move by rounding.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import torch

from codecard.generate.port import GenerationRequest

_MASK = 0xFFFFFFFF
_NUCLEUS = 256  # tokens looked at first for the top-p nucleus; the whole vocabulary is sorted only if it is wider


def row_key(seed: int, task: str, problem: str, sample: int) -> tuple[int, int, int, int]:
    """Key of one row, four 32-bit words: two key the generator, two fill the counter's upper half."""
    # Joined by NUL, which none of the fields contains.
    digest = hashlib.sha256("\0".join((str(seed), task, problem, str(sample))).encode()).digest()
    return struct.unpack("<4I", digest[:16])


def keys_and_settings(
    requests: Sequence[GenerationRequest], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `draw` must know of these rows: keys (rows, 4) int64, settings (rows, 3) float64."""
    keys = [row_key(r.seed, r.task, r.problem, r.sample) for r in requests]
    settings = [(r.sampling.temperature, r.sampling.top_p, r.sampling.top_k) for r in requests]
    return torch.tensor(keys, device=device), torch.tensor(settings, dtype=torch.float64, device=device)


def philox(keys: torch.Tensor, step: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """First word of Philox4x32-10 at counter (id, step, key[2], key[3]) under (key[0], key[1]): (rows, m) int64.
    `keys` (rows, 4), `step` (rows,), `ids` (rows, m), all int64 holding 32-bit words."""
    x0, x1, x2, x3 = ids, step[:, None], keys[:, 2:3], keys[:, 3:4]
    k0, k1 = keys[:, 0:1], keys[:, 1:2]
    for _ in range(10):
        high0, low0 = _multiply(0xD2511F53, x0)
        high1, low1 = _multiply(0xCD9E8D57, x2)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return x0


def _multiply(a: int, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low word of a 32 x 32 bit product. Halves keep every step below 2**63."""
    low = a * (b & 0xFFFF)
    high = a * (b >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def gumbel(keys: torch.Tensor, step: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, (rows, m) float64, for each row at its step and token id."""
    uniform = (philox(keys, step, ids).double() + 0.5) / 2.0**32
    return -(-uniform.log()).log()


def draw(logits: torch.Tensor, settings: torch.Tensor, keys: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """One token id per row, (rows,) int64.

    `logits` (rows, vocabulary) float32; `settings` (rows, 3) float64 of temperature, top_p, top_k; temperature 0 is
    greedy, top_k 0 is off. Order of the filters as in transformers' `generate`: temperature, top-k, then top-p over
    what is left (the most likely token always stays).
    """
    tokens = logits.argmax(dim=-1)
    sampled = (settings[:, 0] > 0).nonzero().flatten()
    if len(sampled):
        tokens[sampled] = _sample(logits[sampled], settings[sampled], keys[sampled], step[sampled])
    return tokens


def _sample(logits: torch.Tensor, settings: torch.Tensor, keys: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    scaled = logits.double() / settings[:, 0:1]
    vocabulary = scaled.shape[-1]
    top_p, top_k = settings[:, 1], settings[:, 2]
    wide = (top_k > _NUCLEUS) | ((top_k == 0) & (top_p >= 1.0))
    width = vocabulary if bool(wide.any()) else min(_NUCLEUS, vocabulary)
    scores, ids, keep = _filter(scaled, settings, width)
    if width < vocabulary and bool((keep[:, -1] & (top_k == 0)).any()):
        scores, ids, keep = _filter(scaled, settings, vocabulary)
    scores = scores.masked_fill(~keep, float("-inf")) + gumbel(keys, step, ids)
    return ids.gather(1, scores.argmax(dim=-1, keepdim=True))[:, 0]


def _filter(
    scaled: torch.Tensor, settings: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `width` best tokens, best first: scores, ids, and a mask of those that top-k and top-p keep. Top-k must not
    exceed `width`; without top-k, probabilities are normalised over the whole vocabulary."""
    top_p, top_k = settings[:, 1:2], settings[:, 2:3]
    scores, ids = scaled.topk(width, dim=-1)
    rank = torch.arange(width, device=scaled.device)
    allowed = (top_k == 0) | (rank < top_k)
    scores = scores.masked_fill(~allowed, float("-inf"))
    whole = scaled.logsumexp(dim=-1, keepdim=True)
    total = torch.where(top_k == 0, whole, scores.logsumexp(dim=-1, keepdim=True))
    share = (scores - total).exp()
    before = share.cumsum(dim=-1) - share
    return scores, ids, allowed & ((before < top_p) | (top_p >= 1.0) | (rank == 0))
