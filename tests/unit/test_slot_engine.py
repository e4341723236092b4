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

from codecard.generate import GenerationRequest, open_generator
from codecard.model import Completion, FinishReason, InfrastructureError, Sampling, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.tiny_models import build  # noqa: E402

from codecard.generate import noise  # noqa: E402
from codecard.generate.slots import shortage  # noqa: E402
from codecard.generate.stepper import Stepper  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

Found = dict[tuple[str, str, int], Completion]
PATHS = os.pathsep.join(sys.path)
KINDS = ["llama", "stablelm"]
SAMPLINGS = {
    "greedy": Sampling(max_new_tokens=20),
    "T 0.2": Sampling(temperature=0.2, top_p=0.95, max_new_tokens=20),
    "T 0.8": Sampling(temperature=0.8, top_p=0.95, max_new_tokens=20),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: build(tmp_path_factory.mktemp(kind), kind=kind) for kind in [*KINDS, "mistral", "gpt_neo"]}


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end tokens: a row's length is what it was asked for."""
    monkeypatch.setattr("codecard.generate.transformers_.end_tokens", lambda *given: frozenset())


def ask(problem: str, prompt: str, sample: int = 0, new: int = 12, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="t", problem=problem, sample=sample, prompt=prompt, sampling=Sampling(max_new_tokens=new)
    )
    return dataclasses.replace(base, **changes)


def mixed(sampling: Sampling, seed: int = 0) -> list[GenerationRequest]:
    """Nine prompts of 1 to 80 characters, some of them for several samples, with stops and lengths of their own."""
    draw = random.Random(seed)
    rows: list[GenerationRequest] = []
    for n in range(9):
        prompt = "".join(draw.choice("abcdef (\n") for _ in range(draw.choice([1, 2, 15, 16, 17, 33, 80])))
        for sample in range(draw.choice([1, 1, 4])):
            own = dataclasses.replace(sampling, max_new_tokens=draw.randint(1, 30))
            rows.append(ask(f"p{n}", prompt, sample, stops=tuple(draw.sample("xyz!\n", 2)), sampling=own))
    return rows


def generated(folder: Path | str, requests: list[GenerationRequest], slots: int) -> Found:
    generator = open_generator(str(folder), device="cpu", batch_size=slots)
    found = [dataclasses.replace(c, seconds=None) for c in generator.generate(requests)]
    assert len(found) == len(requests)
    return {c.id: c for c in found}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_company_changes_completion(folders: dict[str, Path], kind: str, sampling: Sampling) -> None:
    """1, 4 or 32 places, any order: the same completions, and those of the library's own `generate`."""
    for seed in range(3):
        requests = mixed(sampling, seed)
        shuffled = random.Random(seed).sample(requests, len(requests))
        naive = generated(f"hf-naive:{folders[kind]}", requests, 1)
        cut = {key: dataclasses.replace(c, text=_cut(c.text, requests, key)) for key, c in naive.items()}
        for slots, asked in ((1, requests), (4, shuffled), (32, requests), (5, shuffled)):
            found = generated(folders[kind], asked, slots)
            assert {k: dataclasses.replace(c, text=_cut(c.text, requests, k)) for k, c in found.items()} == cut


def _cut(text: str, requests: list[GenerationRequest], key: tuple[str, str, int]) -> str:
    stops = next(r.stops for r in requests if (r.task, r.problem, r.sample) == key)
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


@pytest.mark.parametrize(("kind", "threads"), [("llama", 1), ("llama", 2), ("stablelm", 1)])
def test_company_changes_logits(
    folders: dict[str, Path], kind: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 the logits of a row are equal bit for bit, whatever is decoded beside it."""
    torch.set_num_threads(threads)
    seen: dict[tuple[Any, ...], Any] = {}
    differ: list[tuple[Any, ...]] = []
    real = noise.draw

    def draw(logits: Any, settings: Any, keys: Any, step: Any) -> Any:
        for row, key, at in zip(logits, keys.tolist(), step.tolist(), strict=True):
            known = seen.setdefault((*key, at), row.clone())
            if not torch.equal(known, row):
                differ.append((*key, at))
        return real(logits, settings, keys, step)

    monkeypatch.setattr(noise, "draw", draw)
    requests = mixed(SAMPLINGS["T 0.8"])
    for slots in (1, 2, 4, 7, 32):
        generated(folders[kind], random.Random(slots).sample(requests, len(requests)), slots)
    torch.set_num_threads(1)
    assert len(seen) > 100
    assert differ == []


def test_samples_depend_on_their_number(folders: dict[str, Path]) -> None:
    """One sample a problem is the first of ten."""
    ten = [ask(f"p{n}", "ab" * n, s, sampling=SAMPLINGS["T 0.8"]) for n in range(1, 5) for s in range(10)]
    all_of_them = generated(folders["llama"], ten, 8)
    assert generated(folders["llama"], [r for r in ten if r.sample == 0], 3).items() <= all_of_them.items()
    assert len({c.text for c in all_of_them.values()}) > 30


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_prompt_is_prefilled_again(
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


def test_free_place_stays_empty(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, endless: None) -> None:
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


def test_rows_are_read_ahead_without_bound(folders: dict[str, Path]) -> None:
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


@pytest.mark.parametrize("method", ["step", "_prefill", "admit", "copy_prompt", "move", "_reserve"])
def test_shortage_anywhere_loses_rows(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Wherever memory runs out, each row comes once and unchanged, in fewer places from then on."""
    requests = mixed(SAMPLINGS["T 0.8"], seed=2)
    wanted = generated(folders["llama"], requests, 6)
    real = getattr(Stepper, method)
    calls = 0

    def short(stepper: Any, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        done = real(stepper, *given)
        if calls in (2, 9):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return done

    monkeypatch.setattr(Stepper, method, short)
    generator = open_generator(str(folders["llama"]), device="cpu", batch_size=6)
    found = [dataclasses.replace(c, seconds=None) for c in generator.generate(requests)]
    assert calls > 2
    assert {c.id: c for c in found} == wanted
    assert len(found) == len(requests)
    assert generator._engine().slots < 6


def test_other_failure_is_taken_for_shortage() -> None:
    """Only what says that memory ran out is; anything else is raised."""
    with pytest.raises(RuntimeError, match="shape"):
        shortage(RuntimeError("shape mismatch"))
    assert shortage(MemoryError()) == "MemoryError"


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
    return [ask(str(n), "ab" * n, new=60) for n in range(1, 65)]


def test_capped_process_changes_completions(tmp_path: Path) -> None:
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


def test_single_row_is_tried_for_ever(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("kind", ["mistral", "gpt_neo"])
def test_other_attention_is_decoded_wrongly(folders: dict[str, Path], kind: str) -> None:
    """A sliding window goes through padded batches, an additive mask through the slots: both are the library's."""
    requests = mixed(SAMPLINGS["greedy"])
    naive = generated(f"hf-naive:{folders[kind]}", [dataclasses.replace(r, stops=()) for r in requests], 1)
    assert generated(folders[kind], [dataclasses.replace(r, stops=()) for r in requests], 5) == naive


def test_stop_differs_from_cutting_afterwards(folders: dict[str, Path]) -> None:
    """The text up to the stop is what is left of an unstopped text when it is cut at the earliest stop."""
    from codecard.generate.naive import NaiveEngine

    generator = open_generator(str(folders["llama"]), device="cpu", batch_size=6)
    requests = [dataclasses.replace(r, stops=(*"aeiou0123", "é")) for r in mixed(SAMPLINGS["T 0.8"], seed=4)]
    ours = {c.id: c for c in generator.generate(requests)}
    engine = NaiveEngine(generator._open(), generator._eos, post_truncate=True)
    rest = {c.id: c for c in engine.run(generator._prepare(r) for r in requests)}
    assert {k: _cut(c.text, requests, k) for k, c in ours.items()} == {k: c.text for k, c in rest.items()}
    assert sum(c.finish_reason is FinishReason.STOP for c in ours.values()) >= 5


@pytest.mark.parametrize("spec", ["hf-naive:", "hf-naive:a/b/c"])
def test_naive_form_is_guessed(spec: str) -> None:
    """`hf-naive:` names a model as `hf:` does; anything else is refused."""
    with pytest.raises(UsageError, match="expected hf-naive:ORG/NAME"):
        open_generator(spec)


def test_naive_answers_as_the_slots(folders: dict[str, Path]) -> None:
    """Results of the two ways are told apart by their backend, for the text alone may not."""
    naive = open_generator(f"hf-naive:{folders['llama']}", device="cpu").fingerprint()
    slots = open_generator(str(folders["llama"]), device="cpu").fingerprint()
    assert {key for key in naive if naive[key] != slots[key]} == {"backend"}
