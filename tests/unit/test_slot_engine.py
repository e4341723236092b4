"""The slot engine on tiny random models: what shares a step with a row must not show in the row."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Generator, open_generator
from codecard.model import Completion, FinishReason, InfrastructureError, SampleId, Sampling, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from codecard.generate import noise  # noqa: E402
from codecard.generate.batch import BatchStepper  # noqa: E402
from codecard.generate.slots import shortage  # noqa: E402
from codecard.generate.stepper import Stepper  # noqa: E402
from tiny_models import build  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

Found = dict[SampleId, Completion]
PATHS = os.pathsep.join(sys.path)
KINDS = ["llama", "stablelm", "gpt_neo", "mistral"]
"""Masks of yes and no, heads of 80 with a quarter of them turned, additive masks, and padded batches."""
GREEDY = Sampling()
COOL = Sampling(temperature=0.2, top_p=0.95)
WARM = Sampling(temperature=0.8, top_p=0.95)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: build(tmp_path_factory.mktemp(kind), kind=kind) for kind in KINDS}


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end tokens: a row's length is what it was asked for."""
    monkeypatch.setattr("codecard.generate.transformers_.end_tokens", lambda *given: frozenset())


def ask(problem: str, prompt: str, sample: int = 0, new: int = 12, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="t", problem=problem, sample=sample, prompt=prompt, sampling=Sampling(max_new_tokens=new)
    )
    return dataclasses.replace(base, **changes)


def mixed(*samplings: Sampling, seed: int = 0) -> list[GenerationRequest]:
    """Nine prompts of 1 to 80 characters, some of them for several samples, with stops and lengths of their own."""
    draw = random.Random(seed)
    rows: list[GenerationRequest] = []
    for n in range(9):
        prompt = "".join(draw.choice("abcdef (\n") for _ in range(draw.choice([1, 2, 15, 16, 17, 33, 80])))
        for sample in range(draw.choice([1, 1, 4])):
            own = dataclasses.replace(samplings[n % len(samplings)], max_new_tokens=draw.randint(1, 30))
            rows.append(ask(f"p{n}", prompt, sample, stops=tuple(draw.sample("xyz!\n", 2)), sampling=own))
    return rows


def shuffled(requests: list[GenerationRequest], seed: int) -> list[GenerationRequest]:
    return random.Random(seed).sample(requests, len(requests))


def answered(generator: Generator, requests: list[GenerationRequest]) -> Found:
    found = [dataclasses.replace(c, seconds=None) for c in generator.generate(requests)]
    assert len(found) == len(requests)
    return {c.id: c for c in found}


def generated(folder: Path | str, requests: list[GenerationRequest], slots: int) -> Found:
    return answered(open_generator(str(folder), device="cpu", batch_size=slots), requests)


def cut(found: Found, requests: list[GenerationRequest]) -> Found:
    """Texts up to the row's first stop string, which the slots and the library end with differently."""
    stops = {request.id: request.stops for request in requests}
    ends = {key: [c.text.index(stop) for stop in stops[key] if stop in c.text] for key, c in found.items()}
    return {key: dataclasses.replace(c, text=c.text[: min(ends[key], default=None)]) for key, c in found.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt_neo", "mistral"])
def test_a_completion_is_the_same_in_any_company(folders: dict[str, Path], kind: str) -> None:
    """Alone or in five places, in any order: the same completions, and those of the library's own `generate`."""
    requests = mixed(WARM, GREEDY)
    wanted = cut(generated(f"hf-naive:{folders[kind]}", requests, 1), requests)
    assert cut(generated(folders[kind], requests, 1), requests) == wanted
    assert cut(generated(folders[kind], shuffled(requests, 1), 5), requests) == wanted


@pytest.mark.long
@pytest.mark.parametrize("sampling", [GREEDY, COOL, WARM], ids=["greedy", "T 0.2", "T 0.8"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_completion_is_the_same_in_any_company(folders: dict[str, Path], kind: str, sampling: Sampling) -> None:
    """The same of every kind, more prompts and other numbers of places."""
    for seed in range(3):
        requests = mixed(sampling, seed=seed)
        wanted = cut(generated(f"hf-naive:{folders[kind]}", requests, 1), requests)
        for slots in (1, 4, 5, 32):
            assert cut(generated(folders[kind], shuffled(requests, slots), slots), requests) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_librarys_own_in_any_company(
    folders: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step's logits are the library's own for the row's tokens so far, but for rounding, whoever is beside it.

    A column that leaks from another row, or is missing, moves them by far more. Their last bits are no law, for the
    CPU decides whether its matrix library takes other kernels for eight rows than for four. In float64 these bits are
    far below the float32 that tokens are drawn from.
    """
    seen: dict[tuple[int, ...], list[tuple[Any, int]]] = {}
    real = noise.draw

    def draw(logits: Any, settings: Any, keys: Any, step: Any) -> Any:
        tokens = real(logits, settings, keys, step)
        for row, key, token in zip(logits, keys.tolist(), tokens.tolist(), strict=True):
            seen.setdefault(tuple(key), []).append((row.clone(), token))
        return tokens

    monkeypatch.setattr(noise, "draw", draw)
    requests = mixed(WARM)
    generator: Any = open_generator(str(folders[kind]), device="cpu", batch_size=7)
    generator._open().model.double()
    answered(generator, requests)
    assert sum(map(len, seen.values())) > 200
    for request in requests:
        steps = seen[noise.row_key(0, request.task, request.problem, request.sample)]
        ids = [*generator._prepare(request).ids, *(token for _, token in steps)]
        with torch.inference_mode():
            whole = generator._open().model(torch.tensor([ids])).logits[0, -len(steps) - 1 : -1]
        torch.testing.assert_close(torch.stack([row for row, _ in steps]), whole.float(), rtol=0, atol=5e-3)


@pytest.mark.filterwarnings("error:.*(past_key_values|cache):FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_the_cache_goes_by_the_installed_librarys_name_for_it(folders: dict[str, Path], kind: str) -> None:
    """The installed transformers is given its cache by its own name for it: an old one warns, and ends some day."""
    generated(folders[kind], [ask("a", "ab", new=3)], 2)


@pytest.mark.parametrize("slots", [1, 8])
def test_a_prompt_is_prefilled_once_for_all_its_samples(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, endless: None, slots: int
) -> None:
    """Ten samples of a prompt cost one prefill, however few the places."""
    widths: list[int] = []
    real = Stepper._prefill

    def prefill(stepper: Any, prompts: dict[int, list[int]], width: int) -> None:
        widths.extend([width] * len(prompts))
        real(stepper, prompts, width)

    monkeypatch.setattr(Stepper, "_prefill", prefill)
    prompts = ["a" * 30, "b" * 30, "c" * 30, "d" * 5]
    generated(folders["llama"], [ask(p[0], p, s, new=3 + s % 4) for p in prompts for s in range(10)], slots)
    assert sorted(widths) == [16, 32, 32, 32]


def test_a_free_place_is_taken_at_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, endless: None
) -> None:
    """A place that a short row leaves is taken at once: eight rows in two places cost what the longest costs."""
    live: list[int] = []
    real = Stepper.step

    def step(stepper: Any, rows: int) -> list[int]:
        live.append(rows)
        return list(real(stepper, rows))

    monkeypatch.setattr(Stepper, "step", step)
    lengths = [35, 5, 5, 5, 5, 5, 5, 5]
    generated(folders["llama"], [ask(f"p{n}", "a" * (20 - n), new=new) for n, new in enumerate(lengths)], 2)
    assert live == [2] * 35


def test_rows_are_read_ahead_within_a_bound(folders: dict[str, Path]) -> None:
    """A million requests are not read at once: no more than a window for each place."""
    read = 0

    def requests() -> Iterator[GenerationRequest]:
        nonlocal read
        for n in range(1_000_000):
            read += 1
            yield ask(str(n), "ab", new=2)

    generator = open_generator(str(folders["llama"]), device="cpu", batch_size=2)
    stream = generator.generate(requests())
    for _ in range(5):
        next(stream)
    assert read <= 5 + 2 + 2 * 8
    stream.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def undisturbed(folders: dict[str, Path]) -> dict[str, Found]:
    return {kind: generated(folders[kind], mixed(WARM, seed=2), 6) for kind in ("llama", "mistral")}


SHORT = [("llama", Stepper, name) for name in ("step", "_prefill", "admit", "copy_prompt", "move", "_reserve")]


@pytest.mark.parametrize(("kind", "stepper", "method"), [*SHORT, ("mistral", BatchStepper, "step")])
def test_a_shortage_anywhere_loses_no_row(
    folders: dict[str, Path],
    undisturbed: dict[str, Found],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    stepper: type,
    method: str,
) -> None:
    """Wherever memory runs out, each row comes once and unchanged, in fewer places from then on."""
    real = getattr(stepper, method)
    calls = 0

    def short(stepper: Any, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        done = real(stepper, *given)
        if calls in (2, 9):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return done

    monkeypatch.setattr(stepper, method, short)
    generator: Any = open_generator(str(folders[kind]), device="cpu", batch_size=6)
    assert answered(generator, mixed(WARM, seed=2)) == undisturbed[kind]
    assert calls > 2
    assert generator._engine().slots < 6


def test_only_a_shortage_is_taken_for_one() -> None:
    """Only what says that memory ran out is; anything else is raised."""
    with pytest.raises(RuntimeError, match="shape"):
        shortage(RuntimeError("shape mismatch"))
    assert shortage(MemoryError()) == "MemoryError"
    assert shortage(torch.OutOfMemoryError("CUDA out of\n memory")) == "CUDA out of memory"


CAPPED = """
    import json, resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_slot_engine import generated, long_rows, open_generator
    generator = open_generator(sys.argv[2], device="cpu", batch_size=64)
    list(generator.generate(long_rows()[:1]))
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (16 << 20), resource.RLIM_INFINITY))
    texts = [(c.problem, c.text) for c in generator.generate(long_rows())]
    print(json.dumps([generator._engine().slots, texts]))
"""


def long_rows() -> list[GenerationRequest]:
    return [ask(str(n), "ab" * n, new=6) for n in range(1, 65)]


def test_a_capped_process_writes_the_same_completions(tmp_path: Path) -> None:
    """A process whose address space is capped ends with fewer places and the completions of one that is not."""
    folder = build(tmp_path / "wide", kind="llama", hidden=512)
    script = [sys.executable, "-c", textwrap.dedent(CAPPED), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": PATHS})
    assert done.returncode == 0, done.stderr[-2000:]
    slots, texts = json.loads(done.stdout)
    assert slots < 64
    assert len(texts) == 64
    free = generated(folder, long_rows(), 64)
    assert dict(texts) == {problem: c.text for (_, problem, _), c in free.items()}


def test_a_single_row_that_does_not_fit_ends_the_run(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that does not fit alone either is told with a remedy, and the generator can be asked again."""
    requests = [ask("a", "aa"), ask("b", "bb")]
    generator = open_generator(str(folders["llama"]), device="cpu", batch_size=4)
    real = Stepper._forward

    def forward(stepper: Any, rows: int, width: int) -> Any:
        raise MemoryError

    monkeypatch.setattr(Stepper, "_forward", forward)
    with pytest.raises(InfrastructureError, match="single row"):
        list(generator.generate(requests))
    monkeypatch.setattr(Stepper, "_forward", real)
    assert len(list(generator.generate(requests))) == 2


def test_stopping_equals_cutting_afterwards(folders: dict[str, Path]) -> None:
    """The text up to the stop is what is left of the library's unstopped text when it is cut at the earliest stop."""
    requests = [dataclasses.replace(r, stops=(*"aeiou0123", "é")) for r in mixed(WARM, seed=4)]
    stopped = generated(folders["llama"], requests, 6)
    unstopped = generated(f"hf-naive:{folders['llama']}", [dataclasses.replace(r, stops=()) for r in requests], 1)
    texts = [{key: c.text for key, c in cut(found, requests).items()} for found in (stopped, unstopped)]
    assert texts[0] == texts[1]
    assert sum(c.finish_reason is FinishReason.STOP for c in stopped.values()) >= 5


@pytest.mark.parametrize("spec", ["hf-naive:", "hf-naive:a/b/c"])
def test_the_naive_form_is_checked_as_any_other(spec: str) -> None:
    """`hf-naive:` names a model as `hf:` does; anything else is refused."""
    with pytest.raises(UsageError, match="expected hf-naive:ORG/NAME"):
        open_generator(spec)


def test_the_naive_way_says_its_name(folders: dict[str, Path]) -> None:
    """Results of the two ways are told apart by their backend, for the text alone may not."""
    naive = open_generator(f"hf-naive:{folders['llama']}", device="cpu").fingerprint()
    slots = open_generator(str(folders["llama"]), device="cpu").fingerprint()
    assert {key for key in naive if naive[key] != slots[key]} == {"backend"}
