"""The GPU's decode step on a CPU: a recorder in place of the graph, plain attention in place of the kernel."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, open_generator
from codecard.model import Sampling

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from codecard.generate import slots, slots_cuda  # noqa: E402
from codecard.generate.slots_cuda import Captured, CudaStepper, Pages  # noqa: E402
from tiny_models import build  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of several test workers on few cores crawl."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["llama", "stablelm"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), kind=request.param, positions=2048)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`varlen_attn` by its documentation, row by row; the list counts the calls."""
    calls: list[int] = []

    def varlen_attn(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
                    scale: float | None = None, enable_gqa: bool = False,
                    seqused_k: Any = None, block_table: Any = None) -> Any:  # fmt: skip
        assert cu_seq_k is None
        assert (max_q, cu_seq_q.tolist()) == (1, list(range(len(query) + 1)))
        assert {tensor.dtype for tensor in (cu_seq_q, seqused_k, block_table)} == {torch.int32}
        assert enable_gqa == (query.shape[1] != key.shape[2])
        assert int(seqused_k.max()) <= max_k <= block_table.shape[1] * key.shape[1]
        calls.append(len(query))
        rows = []
        for row, used, pages in zip(query, seqused_k.tolist(), block_table.tolist(), strict=True):
            keys, values = (pool[pages].flatten(0, 1)[:used].transpose(0, 1) for pool in (key, value))
            each = [t.repeat_interleave(query.shape[1] // key.shape[2], dim=0) for t in (keys, values)]
            rows.append(torch.nn.functional.scaled_dot_product_attention(row[:, None], *each, scale=scale)[:, 0])
        return torch.stack(rows)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    return calls


@pytest.fixture
def steppers(monkeypatch: pytest.MonkeyPatch) -> list[CudaStepper]:
    """Have the engine use the GPU's stepper, whose records may only touch the tensors they were made with."""
    opened: list[CudaStepper] = []

    def record(run: Callable[[], Any], pool: Any) -> Captured:
        stepper = opened[-1]
        logits = run().clone()
        made_with = addresses(stepper)

        def replay() -> None:
            assert addresses(stepper) == made_with
            logits.copy_(run())

        return Captured(replay=replay, logits=logits)

    def stepper(model: Any, places: int) -> CudaStepper:
        opened.append(CudaStepper(model, places, record))
        return opened[-1]

    monkeypatch.setattr(slots, "stepper_for", lambda model: stepper)
    return opened


def addresses(stepper: Any) -> list[int]:
    held = [stepper._tokens, stepper._columns]
    held += [tensor for layer in stepper._cache.held.values() for tensor in layer]
    return [tensor.data_ptr() for tensor in held]


def requests() -> list[GenerationRequest]:
    """Prompts of 1 to 1,000 characters, so that pages are crossed and the cache grows while rows are under way."""
    draw = random.Random(1)
    rows = []
    for n, length in enumerate([1, 250, 255, 256, 257, 500, 1000, 20, 30, 40]):
        prompt = "".join(draw.choice("abc (\n") for _ in range(length))
        warm = Sampling(temperature=0.8 if n % 2 else 0.0, top_p=0.95, max_new_tokens=30)
        rows += [
            GenerationRequest(
                task="t",
                problem=str(n),
                sample=sample,
                prompt=prompt,
                stops=("x",) if length < 1000 else (),
                sampling=warm,
            )
            for sample in range(1 + n % 3)
        ]
    return rows


def texts(folder: Path, places: int) -> dict[tuple[str, str, int], Any]:
    generator: Any = open_generator(str(folder), device="cpu", batch_size=places)
    generator._eos = frozenset()
    return {c.id: dataclasses.replace(c, seconds=None) for c in generator.generate(requests())}


@pytest.mark.parametrize("places", [1, 3, 8])
def test_paged_and_replayed_steps_equal_the_plain_step(
    folder: Path, kernel: list[int], steppers: list[CudaStepper], monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    """Paged attention and replayed steps give the completions of the plain step."""
    found = texts(folder, places)
    assert len(kernel) > 40
    assert [stepper._paged for stepper in steppers] == [True] * len(steppers)  # the second finds its own attention
    monkeypatch.undo()
    assert found == texts(folder, places)


def test_masked_attention_equals_the_plain_step_where_the_kernel_is_missing(
    folder: Path, steppers: list[CudaStepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kernel that agrees with plain attention, masked attention over rounded widths does the same."""
    monkeypatch.setattr(slots_cuda, "paged", lambda query, *given: torch.zeros_like(query))
    found = texts(folder, 3)
    assert not steppers[0]._paged
    monkeypatch.undo()
    assert found == texts(folder, 3)


def test_a_step_is_captured_once_a_size(
    folder: Path, steppers: list[CudaStepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is captured once a size: powers of two of rows, pages of columns."""
    sizes: list[tuple[int, int, int]] = []
    real = CudaStepper._forward

    def forward(stepper: Any, rows: int, width: int) -> Any:
        if (rows, width) not in stepper._captured:
            sizes.append((rows, width, stepper._cache.columns))
        return real(stepper, rows, width)

    monkeypatch.setattr(CudaStepper, "_forward", forward)
    texts(folder, 8)
    assert len(sizes) == len(set(sizes))
    assert {rows for rows, _, _ in sizes} <= {1, 2, 4, 8}
    assert {width % 256 for _, width, _ in sizes} == {0}
    assert {columns for _, _, columns in sizes} == {1024, 1536}


def test_the_page_table_gives_each_row_its_own_pages() -> None:
    """Row r's page i is page r · (pages a place) + i of the pool; no row uses more than is read."""
    pages = Pages.of(torch.tensor([0, 300, 900]), width=512, columns=1024)
    assert pages.table.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert pages.used.tolist() == [1, 301, 512]
