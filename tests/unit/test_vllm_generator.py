"""The vLLM adapter over an engine of a few lines that speaks as vLLM does: what the adapter decides is decided here.

The real engine is asked by tests/conformance/test_generation_contract.py.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Message, open_generator
from codecard.model import Completion, FinishReason, InfrastructureError, Sampling, UsageError
from tiny_models import TEMPLATE, build

transformers = pytest.importorskip("transformers")

WARM = Sampling(temperature=0.8, top_p=0.95, top_k=7, max_new_tokens=9)


class Engine:
    """Writes `script` for every request, a token a step, and knows max_tokens and end tokens alone."""

    def __init__(self, script: list[int], context: int) -> None:
        self.script = script
        self.model_config = SimpleNamespace(max_model_len=context)
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self.waiting: dict[str, tuple[Any, int]] = {}
        self.added: list[tuple[list[int], Any]] = []
        self.aborted: list[str] = []

    def add_request(self, name: str, prompt: dict[str, list[int]], parameters: Any) -> None:
        assert prompt["prompt_token_ids"]
        assert len(prompt["prompt_token_ids"]) + parameters.max_tokens <= self.model_config.max_model_len
        self.added.append((prompt["prompt_token_ids"], parameters))
        self.waiting[name] = (parameters, 0)

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names
        for name in names:
            del self.waiting[name]

    def step(self) -> list[Any]:
        found = []
        for name, (parameters, made) in list(self.waiting.items()):
            tokens = self.script[: made + 1]
            ended = tokens[-1] in parameters.stop_token_ids
            full = len(tokens) >= min(parameters.max_tokens, len(self.script))
            self.waiting[name] = (parameters, made + 1)
            if ended or full:
                del self.waiting[name]
                output = SimpleNamespace(token_ids=tokens, finish_reason="stop" if ended else "length")
                found.append(SimpleNamespace(request_id=name, finished=True, outputs=[output]))
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build(tmp_path / "tiny")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A package `vllm` whose engine writes what `said` holds; `engines` are those that were started."""
    state = SimpleNamespace(said="x = 1\ny = 2\nz = 3\n", engines=[], options=[], end=None)

    def start(**options: Any) -> Any:
        tokenizer = transformers.AutoTokenizer.from_pretrained(options["model"])
        ids = tokenizer(state.said, add_special_tokens=False)["input_ids"]
        state.options.append(options)
        state.engines.append(Engine(ids if state.end is None else [*ids, state.end, *ids], 128))
        return SimpleNamespace(llm_engine=state.engines[-1])

    vllm: Any = ModuleType("vllm")
    vllm.__version__ = "0"
    vllm.LLM = start
    vllm.SamplingParams = SimpleNamespace
    parts = {name: ModuleType(f"vllm.{name}") for name in ("distributed", "platforms", "sampling_params")}
    vars(parts["distributed"])["cleanup_dist_env_and_memory"] = lambda: None
    vars(parts["platforms"])["current_platform"] = SimpleNamespace(is_cpu=lambda: True)
    vars(parts["sampling_params"])["RequestOutputKind"] = SimpleNamespace(FINAL_ONLY="final")
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    for name, part in parts.items():
        setattr(vllm, name, part)
        monkeypatch.setitem(sys.modules, f"vllm.{name}", part)
    return state


def ask(problem: str = "f", sample: int = 0, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="starter/py", problem=problem, sample=sample, prompt="def f(", sampling=Sampling(max_new_tokens=40)
    )
    return dataclasses.replace(base, **changes)


def only(found: Iterator[Completion]) -> Completion:
    (row,) = found
    return row


def test_a_missing_package_is_told_with_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without vLLM the command that installs it is told, in one line."""
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InfrastructureError, match=r"pip install 'codecard\[vllm\]'"):
        open_generator(f"vllm:{folder}")


def test_our_matcher_and_not_the_engine_decides_where_a_row_ends(folder: Path, library: SimpleNamespace) -> None:
    """An engine that ignores stop strings, or matches another of two, changes no text: our own matcher reads it."""
    generator = open_generator(f"vllm:{folder}")
    row = only(generator.generate([ask(stops=("\nz", "\ny"))]))
    assert (row.text, row.finish_reason, row.new_tokens) == ("x = 1\ny", FinishReason.STOP, 7)
    whole = only(generator.generate([ask()]))
    assert (whole.text, whole.finish_reason) == (library.said, FinishReason.LENGTH)
    asked = library.engines[0].added[0][1]
    assert asked.stop == ["\nz", "\ny"]
    assert asked.include_stop_str_in_output
    assert not asked.skip_special_tokens


def test_the_end_token_is_counted_and_not_in_the_text(folder: Path, library: SimpleNamespace) -> None:
    """A row ends at the template's end-of-turn token too, which counts as a token and is not in the text."""
    library.end = 2
    row = only(open_generator(f"vllm:{folder}").generate([ask()]))
    assert (row.text, row.finish_reason) == (library.said, FinishReason.EOS)
    assert row.new_tokens == len(library.said) + 1
    assert library.engines[0].added[0][1].stop_token_ids == [1, 2]


def test_a_rows_seed_is_the_same_in_any_company(folder: Path, library: SimpleNamespace) -> None:
    """A row's seed is of its own name: the same in any order and number, another for each sample and run seed."""
    generator = open_generator(f"vllm:{folder}")
    list(generator.generate([ask("f", sample, sampling=WARM) for sample in range(3)]))
    list(generator.generate([ask("g", sampling=WARM), ask("f", 1, sampling=WARM), ask("f", 1, sampling=WARM, seed=9)]))
    seeds = [parameters.seed for _, parameters in library.engines[0].added]
    assert len(set(seeds)) == 5
    assert seeds[1] == seeds[4]
    assert seeds[1] == ask("f", 1, sampling=WARM).row_seed
    asked = library.engines[0].added[0][1]
    assert (asked.temperature, asked.top_p, asked.top_k) == (0.8, 0.95, 7)


def test_requests_are_read_in_bounds(folder: Path, library: SimpleNamespace) -> None:
    """No more requests are held than rows are decoded, and a stream left early takes them from the engine."""
    taken = []

    def many() -> Iterator[GenerationRequest]:
        for sample in range(1000):
            taken.append(sample)
            yield ask("f", sample, sampling=Sampling(max_new_tokens=1 + sample))

    generator = open_generator(f"vllm:{folder}", batch_size=4)
    stream = generator.generate(many())
    next(stream)
    assert len(taken) == 4
    stream.close()  # type: ignore[attr-defined]  # an Iterator by the port, a generator in fact
    assert len(library.engines[0].aborted) == 3
    assert not library.engines[0].waiting
    assert len(list(generator.generate([ask("f", sample) for sample in range(9)]))) == 9


def test_a_prompt_without_room_gives_an_empty_completion(folder: Path, library: SimpleNamespace) -> None:
    """A prompt without room never reaches the engine; it is an empty row that ended by length."""
    generator = open_generator(f"vllm:{folder}")
    found = {c.problem: c for c in generator.generate([ask("long", prompt="x" * 200), ask("short")])}
    row = found["long"]
    assert (row.text, row.finish_reason, row.prompt_tokens, row.new_tokens) == ("", FinishReason.LENGTH, 201, 0)
    assert found["short"].text
    assert len(library.engines[0].added) == 1


def test_chat_has_one_beginning_of_text(folder: Path, library: SimpleNamespace) -> None:
    """The dialogue reaches the engine as the template's tokens, its beginning-of-text token once."""
    assert "bos_token" in TEMPLATE
    only(open_generator(f"vllm:{folder}").generate([ask(prompt=(Message(role="user", content="hi"),))]))
    ids = library.engines[0].added[0][0]
    assert ids.count(0) == 1
    assert len(ids) == len("user:hi") + len("a:") + 2


def test_the_engine_gets_our_settings_and_not_the_models_own(folder: Path, library: SimpleNamespace) -> None:
    """Code of a model never runs, its sampling defaults are not ours, and samples share their prompt."""
    generator = open_generator(f"vllm:{folder}", dtype="float32", batch_size=3)
    (options,) = library.options
    assert options["trust_remote_code"] is False
    assert options["generation_config"] == "vllm"
    assert options["enable_prefix_caching"] is True
    assert (options["dtype"], options["max_num_seqs"]) == ("float32", 3)
    found = generator.fingerprint()
    assert (found["backend"], found["dtype"], found["eos_token_ids"]) == ("vllm", "float32", [1, 2])
    assert found["revision"].startswith("sha256:")


def test_an_engine_that_does_not_start_is_an_infrastructure_error(
    folder: Path, library: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        raise ValueError("No available memory\n for the cache blocks")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", refuse)
    with pytest.raises(InfrastructureError, match="did not start: No available memory for the cache"):
        open_generator(f"vllm:{folder}")


def test_what_cannot_work_is_refused_before_an_engine_is_started(folder: Path, library: SimpleNamespace) -> None:
    """What cannot work is told before an engine is started; a closed generator answers nothing."""
    with pytest.raises(UsageError, match="device"):
        open_generator(f"vllm:{folder}", device="cuda:1")
    with pytest.raises(UsageError, match="batch size"):
        open_generator(f"vllm:{folder}", batch_size=0)
    with pytest.raises(UsageError, match="dtype"):
        open_generator(f"vllm:{folder}", dtype="int3")
    with pytest.raises(UsageError, match="ORG/NAME"):
        open_generator("vllm:a/b/c")
    assert not library.engines
    generator = open_generator(f"vllm:{folder}")
    generator.close()
    generator.close()
    with pytest.raises(UsageError, match="closed"):
        list(generator.generate([ask()]))
