"""The noise that samples tokens: a published generator, keyed by row, independent of everything else."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from codecard.generate.noise import draw, gumbel, philox, row_key  # noqa: E402

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "word"),
    [
        ((0, 0, 0, 0), (0, 0), 0x6627E8D5),
        ((ONES, ONES, ONES, ONES), (ONES, ONES), 0x408F276D),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), 0xD16CFE09),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_generator_is_philox(counter: tuple[int, ...], key: tuple[int, int], word: int) -> None:
    """The known answers of Philox4x32-10 (Random123, kat_vectors)."""
    keys = torch.tensor([[*key, counter[2], counter[3]]])
    assert philox(keys, torch.tensor([counter[1]]), torch.tensor([[counter[0]]])).item() == word


def test_no_two_rows_or_steps_share_noise() -> None:
    """Seed, task, problem, sample and step each change the key or the noise; fields do not run together."""
    keys = {
        row_key(0, "t", "p", 0),
        row_key(1, "t", "p", 0),
        row_key(0, "t2", "p", 0),
        row_key(0, "t", "p2", 0),
        row_key(0, "t", "p", 1),
        row_key(0, "t", "p1", 1),
        row_key(0, "tp", "", 0),
    }
    assert len(keys) == 7
    key, ids = torch.tensor([row_key(0, "t", "p", 0)]), torch.arange(8)[None]
    first, second = (gumbel(key, torch.tensor([step]), ids) for step in (0, 1))
    assert not torch.equal(first, second)


def test_the_key_of_a_row_is_frozen() -> None:
    """The key of a row is frozen: a resumed or extended run must draw what the first run would have."""
    assert row_key(0, "multipl_e/py", "HumanEval_0_has_close_elements", 0) == (
        0x858FCE22,
        0x3F7C8D7C,
        0x8A79883D,
        0xCB921A63,
    )


def frequencies(probabilities: list[float], setting: tuple[float, float, float], n: int = 20000) -> list[float]:
    logits = torch.tensor(probabilities).log().expand(n, -1).contiguous()
    keys = torch.tensor([row_key(5, "t", "p", sample) for sample in range(n)])
    settings = torch.tensor([setting] * n, dtype=torch.float64)
    tokens = draw(logits, settings, keys, torch.zeros(n, dtype=torch.int64))
    shares: list[float] = (torch.bincount(tokens, minlength=len(probabilities)) / n).tolist()
    return shares


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ((1.0, 1.0, 0), [0.4, 0.3, 0.15, 0.1, 0.05]),
        ((1.0, 0.8, 0), [0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0]),
        ((1.0, 0.05, 0), [1, 0, 0, 0, 0]),
        ((1.0, 1.0, 2), [4 / 7, 3 / 7, 0, 0, 0]),
        ((1.0, 0.6, 3), [4 / 7, 3 / 7, 0, 0, 0]),
        ((0.5, 1.0, 2), [16 / 25, 9 / 25, 0, 0, 0]),
        ((0.0, 1.0, 0), [1, 0, 0, 0, 0]),
    ],
    ids=["plain", "top-p", "top-p keeps one", "top-k", "top-k then top-p", "temperature", "greedy"],
)
def test_tokens_come_as_often_as_their_probability_says(
    setting: tuple[float, float, float], expected: list[float]
) -> None:
    """Drawn shares agree with the filtered distribution within five standard errors; filtered tokens never come."""
    for share, wanted in zip(frequencies([0.4, 0.3, 0.15, 0.1, 0.05], setting), expected, strict=True):
        assert abs(share - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / 20000)


@pytest.mark.parametrize("setting", [(0.2, 0.95, 0), (3.0, 0.999, 0), (1.0, 1.0, 0), (0.9, 0.9, 1000), (0.0, 1.0, 0)])
def test_a_draw_is_the_same_alone_and_in_a_batch(setting: tuple[float, float, float]) -> None:
    """Rows of a large vocabulary draw the same token alone, together, and beside rows of other settings."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3000, generator=generator) * 2
    keys = torch.tensor([row_key(0, "t", "p", sample) for sample in range(6)])
    step = torch.arange(6)
    mixed = torch.tensor([setting, (1.0, 1.0, 0), (0.3, 0.5, 3)] * 2, dtype=torch.float64)
    together = draw(logits, mixed, keys, step)
    for row in range(6):
        one = slice(row, row + 1)
        assert draw(logits[one], mixed[one], keys[one], step[one]).item() == together[row].item()
