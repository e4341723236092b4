"""What every generation backend must do, on the embedded model's real weights, as far as its interface allows.

vLLM wants an environment of its own (3.4 GB): `scripts/setup-vllm FOLDER` makes it, and
`CODECARD_VLLM_PYTHON=FOLDER/bin/python` has these tests run through it and through its server.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.answers.cutting import truncate
from codecard.generate import GenerationRequest, Generator, Message, open_generator
from codecard.model import Completion, FinishReason, PromptStyle, Sampling, UsageError
from model_servers import free_port, running, transformers_serve, vllm_server

pytestmark = [pytest.mark.xdist_group("generation"), pytest.mark.embedded]

VLLM_PYTHON = os.environ.get("CODECARD_VLLM_PYTHON", "")
VLLM_REMEDY = "scripts/setup-vllm FOLDER, then CODECARD_VLLM_PYTHON=FOLDER/bin/python"
HERE = importlib.util.find_spec("vllm") is not None

PROMPTS = {
    "add": "def add(a, b):\n    return",
    "loop": "for i in range(10):\n    print(i)\n\n\n# Now the same with a while loop that counts down\ni = 10\n",
    "text": "The capital of France is",
}
GREEDY = Sampling(max_new_tokens=12)
WARM = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend and what its interface can promise: seeds per row, token counts, the reason of an end."""

    name: str
    open: Callable[[], Generator]
    seeds: bool = True
    counts: bool = True
    reasons: bool = True
    keeps_stop: bool = True


def served(name: str, embedded: Path, log: Path) -> Iterator[Backend]:
    port = free_port()
    ours = name == "transformers serve"
    command = transformers_serve(embedded, port) if ours else vllm_server(VLLM_PYTHON, embedded, port)
    with running(command, port, log) as url:
        yield Backend(
            name=name,
            # one request at a time: `transformers serve` seeds one generator that all requests draw from
            open=lambda: open_generator(f"openai:{embedded}", base_url=url, batch_size=1 if ours else 4),
            reasons=not ours,
            keeps_stop=True,
        )


@pytest.fixture(
    scope="module", params=["transformers", "transformers serve", "lm-eval", "vllm", "vllm server"], ids=lambda p: p
)
def backend(
    request: pytest.FixtureRequest, embedded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    name = str(request.param)
    if name.startswith("vllm") and not VLLM_PYTHON and not HERE:
        pytest.skip(f"no vLLM; remedy: {VLLM_REMEDY}")
    if name == "vllm" and not HERE:
        pytest.skip("run by test_vllm_keeps_the_contract, in vLLM's own environment")
    if name == "transformers":
        yield Backend(
            name=name, open=lambda: open_generator(str(embedded), device="cpu", dtype="float32", batch_size=4)
        )
    elif name == "vllm":
        yield Backend(name=name, open=lambda: open_generator(f"vllm:{embedded}", dtype="float32", batch_size=4))
    elif name == "lm-eval":
        pytest.importorskip("lm_eval")
        spec = f"lm-eval:hf,pretrained={embedded},dtype=float32,batch_size=4"
        yield Backend(
            name=name, open=lambda: open_generator(spec, device="cpu"), seeds=False, reasons=False, keeps_stop=False
        )
    else:
        pytest.importorskip("openai")
        log = tmp_path_factory.mktemp("server") / "log.txt"
        yield from served(name, embedded, log)


@pytest.fixture(scope="module")
def generator(backend: Backend) -> Iterator[Generator]:
    made = backend.open()
    yield made
    made.close()


def ask(problem: str = "add", sample: int = 0, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="starter/py", problem=problem, sample=sample, prompt=PROMPTS.get(problem, "x = 1\n"), sampling=GREEDY
    )
    return dataclasses.replace(base, **changes)


def made(found: Iterator[Completion]) -> dict[tuple[str, int], Completion]:
    completions = [dataclasses.replace(c, seconds=None) for c in found]
    byname = {(c.problem, c.sample): c for c in completions}
    assert len(byname) == len(completions), "a row came twice"
    return byname


def test_each_request_is_answered_once(generator: Generator, backend: Backend) -> None:
    """Each request is answered once, under its own task, problem and sample, with the text it alone asked for."""
    asked = [ask(problem, sample) for problem in PROMPTS for sample in range(2)]
    found = made(generator.generate(asked))
    assert set(found) == {(problem, sample) for problem in PROMPTS for sample in range(2)}
    for problem in PROMPTS:
        assert found[problem, 0].text == found[problem, 1].text, "greedy samples of one problem differ"
    assert len({c.text for c in found.values()}) == len(PROMPTS)
    row = found["text", 0]
    assert row.text
    assert row.style is PromptStyle.RAW
    assert not row.text.startswith(PROMPTS["text"])
    if backend.counts:
        assert row.prompt_tokens == 5


def test_greedy_text_equals_that_of_our_transformers_backend(generator: Generator, embedded: Path) -> None:
    """Greedy float32 text, cut by the one rule for all backends, is what our own transformers backend writes."""
    asked = [ask(problem, stops=("\n\n", ".")) for problem in PROMPTS]
    oracle = open_generator(str(embedded), device="cpu", dtype="float32")
    wanted, found = made(oracle.generate(asked)), made(generator.generate(asked))
    oracle.close()
    for key, row in wanted.items():
        assert truncate(found[key].text, ("\n\n", ".")) == truncate(row.text, ("\n\n", ".")), key


def test_each_row_ends_at_its_own_stop(generator: Generator, backend: Backend) -> None:
    """Each row ends at its own stop string; what is before it is what the row would have been without."""
    free = made(generator.generate([ask("add"), ask("text")]))
    text = free["add", 0].text
    stop = text[len(text) // 2 :][:3]
    found = made(generator.generate([ask("add", stops=("never there", stop)), ask("text", stops=("never there",))]))
    cut = found["add", 0]
    assert truncate(cut.text, (stop,)) == text[: text.index(stop)]
    assert (stop in cut.text) == backend.keeps_stop
    assert len(cut.text) <= len(text)
    if backend.reasons:
        assert cut.finish_reason is FinishReason.STOP
    assert found["text", 0].text == free["text", 0].text


def test_a_fifth_stop_ends_the_row_too(generator: Generator, backend: Backend) -> None:
    """More stop strings than a server takes: the row ends at the one that was not sent all the same."""
    text = made(generator.generate([ask("add")]))["add", 0].text
    stop = text[len(text) // 2 :][:3]
    never = tuple(f"never {number}" for number in range(4))
    row = made(generator.generate([ask("add", stops=(*never, stop))]))["add", 0]
    assert truncate(row.text, (stop,)) == text[: text.index(stop)]
    assert (stop in row.text) == backend.keeps_stop
    if backend.keeps_stop:
        assert row.finish_reason is FinishReason.STOP


def test_a_stop_is_looked_for_in_generated_text_alone(generator: Generator, backend: Backend) -> None:
    """A stop string that begins in the prompt does not end the row: only generated text counts."""
    if backend.name == "transformers serve":
        pytest.skip("this server matches stop strings across the end of the prompt")
    free = made(generator.generate([ask("text")]))["text", 0].text
    stop = PROMPTS["text"][-1] + free[:1]
    assert stop not in free
    assert made(generator.generate([ask("text", stops=(stop,))]))["text", 0].text == free


def test_a_sample_is_the_same_in_any_company(generator: Generator, backend: Backend) -> None:
    """A row's sample is the same alone and beside others, and the first of three is the only one of one."""
    if not backend.seeds:
        with pytest.raises(UsageError, match="seed"):
            list(generator.generate([ask(sampling=WARM)]))
        return
    alone = made(generator.generate([ask("text", sampling=WARM)]))
    beside = made(generator.generate([ask(p, s, sampling=WARM) for s in range(3) for p in PROMPTS]))
    assert alone.items() <= beside.items()
    if backend.name != "transformers serve":  # it decodes greedily unless the model's own config samples
        assert len({beside["text", sample].text for sample in range(3)}) > 1
        other = made(generator.generate([ask("text", s, sampling=WARM, seed=1) for s in range(3)]))
        assert [c.text for c in other.values()] != [beside["text", s].text for s in range(3)]


def test_the_tightest_limit_ends_a_row(generator: Generator, backend: Backend) -> None:
    """The tighter of the two limits ends the row, by length."""
    prompt_tokens = 5
    found = made(
        generator.generate(
            [
                ask("text", 0, sampling=Sampling(max_new_tokens=3)),
                ask("text", 1, sampling=Sampling(max_total_tokens=prompt_tokens + 2)),
                ask("text", 2, sampling=Sampling(max_total_tokens=prompt_tokens + 9, max_new_tokens=1)),
            ]
        )
    )
    one, two, three = (found["text", sample] for sample in (2, 1, 0))
    assert one.text
    assert two.text.startswith(one.text)
    assert three.text.startswith(two.text)
    assert len(three.text) > len(two.text) > len(one.text)
    if backend.reasons:
        assert {c.finish_reason for c in found.values()} == {FinishReason.LENGTH}
        assert [c.new_tokens for c in (one, two, three)] == [1, 2, 3]


def test_a_prompt_without_room_gives_an_empty_completion(generator: Generator, backend: Backend) -> None:
    """A prompt that leaves no room is an empty completion that ended by length; the next one is answered."""
    long = ask("loop", sampling=Sampling(max_total_tokens=20))
    found = made(generator.generate([long, ask("text", sampling=Sampling(max_total_tokens=20))]))
    row = found["loop", 0]
    assert (row.text, row.finish_reason) == ("", FinishReason.LENGTH)
    assert found["text", 0].text


def test_a_dialogue_is_rendered_by_the_models_template_once(
    generator: Generator, backend: Backend, embedded: Path
) -> None:
    """A dialogue is rendered by the model's own template, once; its end token ends the row and is not in the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded)
    said = "What is 2 + 2? Answer with the number only."
    turns = [{"role": "user", "content": said}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    wanted = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    sampling = Sampling(max_new_tokens=48)
    (row,) = generator.generate([ask("chat", prompt=(Message(role="user", content=said),), sampling=sampling)])
    assert row.style is PromptStyle.CHAT
    assert "4" in row.text
    assert "<|" not in row.text
    if backend.counts:
        assert row.prompt_tokens == wanted
    if backend.reasons:
        assert row.finish_reason is FinishReason.EOS


def test_requests_are_read_in_bounds(generator: Generator) -> None:
    """A million requests are not read before the first answer, and a stream left early leaves the backend whole."""
    taken: list[int] = []

    def many() -> Iterator[GenerationRequest]:
        for sample in range(1_000_000):
            taken.append(sample)
            yield ask("text", sample, sampling=Sampling(max_new_tokens=1))

    stream = generator.generate(many())
    next(stream)
    assert len(taken) <= 64
    stream.close()  # type: ignore[attr-defined]  # an Iterator by the port, a generator in fact
    assert len(made(generator.generate([ask("text", s, sampling=Sampling(max_new_tokens=2)) for s in range(5)]))) == 5


def test_the_fingerprint_names_what_decides_a_completion(generator: Generator, backend: Backend) -> None:
    """What decides a completion is in the fingerprint, as JSON."""
    found = generator.fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert {"model", "revision", "backend", "dtype", "chat_template_hash", "versions"} <= set(found)
    assert found["model"]
    assert found["versions"]
    if "server" not in backend.name and "serve" not in backend.name:
        assert found["dtype"] == "float32"
        assert found["revision"].startswith("sha256:")


def test_a_closed_backend_refuses(backend: Backend) -> None:
    """A closed generator refuses in one line; closing twice is no error."""
    generator = backend.open()
    generator.close()
    generator.close()
    with pytest.raises(UsageError, match="closed"):
        list(generator.generate([ask()]))


def test_vllm_keeps_the_contract(embedded: Path) -> None:
    """These same tests, run by vLLM's own environment."""
    if HERE:
        pytest.skip("this is that environment")
    if not VLLM_PYTHON:
        pytest.skip(f"no vLLM; remedy: {VLLM_REMEDY}")
    command = [VLLM_PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-k", "vllm and not server", __file__]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "CI": ""})
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-2000:]
    assert "passed" in told.stdout
    sys.stdout.write(told.stdout[-300:])
