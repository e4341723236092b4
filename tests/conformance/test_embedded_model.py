"""The embedded model: its tokenizer against llama.cpp's, its decoding against itself and transformers'."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Generator, Message, open_generator
from codecard.generate.embedded import NAME
from codecard.generate.stops import token_bytes
from codecard.model import Completion, FinishReason, Sampling
from sizes import some

pytestmark = pytest.mark.embedded

RAW_PROMPTS = {
    "add": "def add(a, b):\n    return",
    "loop": "for i in range(10):\n    print(i)\n\n\n# Now the same with a while loop that counts down\ni = 10\n",
    "js": "function twice(x) {\n",
    "text": "The capital of France is",
}
WARM = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=12)
STOPS = {"add": ("\ndef", "\n\n\n"), "loop": ("\n\n",), "js": ("\n}",), "text": (".",)}


@pytest.fixture(scope="module")
def tokenizer(embedded: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded)


@pytest.fixture(scope="module")
def one(embedded: Path) -> Iterator[Generator]:
    """The plain path: one prompt at a time."""
    generator = open_generator("embedded", device="cpu", dtype="float32", batch_size=1)
    yield generator
    generator.close()


def requests(sampling: Sampling) -> list[GenerationRequest]:
    raw = [
        GenerationRequest(
            task="starter/py", problem=name, sample=0, prompt=prompt, stops=STOPS[name], sampling=sampling
        )
        for name, prompt in RAW_PROMPTS.items()
    ]
    chat = Message(role="user", content="Write a Python function that returns the larger of two numbers.")
    return [*raw, dataclasses.replace(raw[0], problem="chat", prompt=(chat,), stops=())]


def texts(completions: Iterator[Completion]) -> dict[str, Completion]:
    return {c.problem: dataclasses.replace(c, seconds=None) for c in completions}


@pytest.mark.data
def test_tokens_equal_those_of_llama_cpp(tokenizer: Any, data_dir: Path) -> None:
    """Every vector agrees: all MultiPL-E prompts as they stand (not stripped), and the hard strings.

    Before the digit splitting was put back, one Python prompt in five tokenised otherwise.
    """
    vectors = data_dir / "models" / "smollm2-135m.token_vectors.jsonl"
    prompts = {
        (f"multipl_e/{path.stem.removeprefix('humaneval-')}", row["name"]): row["prompt"]
        for path in (data_dir / "multipl_e").glob("humaneval-*.jsonl")
        for row in map(json.loads, path.read_text().splitlines())
    }
    checked = 0
    for row in map(json.loads, vectors.read_text().splitlines()):
        text = row["text"] if "text" in row else prompts[row["task"], row["problem"]]
        assert tokenizer(text)["input_ids"] == row["ids"], text[:80]
        checked += 1
    assert checked == 966


def test_token_bytes_join_to_the_text(tokenizer: Any) -> None:
    """Bytes joined from the table are the text that was tokenised, split characters included."""
    table = token_bytes(tokenizer)
    for text in (
        "x = 1234 + 5.0\n\n\ndef",
        "naïve café — 12,345.67 €",
        "🙂 emoji 👩‍👩‍👧",
        "\t\t  if (x) {\n\n}",
        "�\x00",
    ):
        ids = tokenizer(text)["input_ids"]
        assert b"".join(table[token] for token in ids) == text.encode()
    assert len(table) == len(tokenizer)


@pytest.mark.parametrize("temperature", some([0.2, 0.0, 0.8], 3))
def test_a_real_completion_is_the_same_in_any_company(one: Generator, embedded: Path, temperature: float) -> None:
    """In float32 a completion is the same alone, in 4 and in 32 places, in any order, and by the library itself."""
    asked = requests(Sampling(temperature=temperature, top_p=0.95, max_new_tokens=12))
    alone = texts(one.generate(asked))
    for slots in (4, 32):
        engine = open_generator(str(embedded), device="cpu", dtype="float32", batch_size=slots)
        assert texts(engine.generate(random.Random(slots).sample(asked, len(asked)))) == alone
    naive = open_generator(f"hf-naive:{embedded}", device="cpu", dtype="float32")
    assert texts(naive.generate(asked)) == alone
    assert set(alone) == {*RAW_PROMPTS, "chat"}


def test_a_sample_is_the_same_however_many_are_drawn(one: Generator, embedded: Path) -> None:
    """One sample of a problem is the first of ten that share a prefill."""
    asked = [dataclasses.replace(requests(WARM)[0], sample=n) for n in range(10)]
    ten = open_generator(str(embedded), device="cpu", dtype="float32", batch_size=10)
    found = {c.sample: c.text for c in ten.generate(asked)}
    assert found[0] == next(iter(one.generate(asked[:1]))).text
    assert len(set(found.values())) > 5


def test_greedy_equals_stock_generate_on_real_weights(one: Generator, tokenizer: Any) -> None:
    """Token for token what transformers' own `generate` writes for a lone prompt."""
    model = one._open().model  # type: ignore[attr-defined]  # the model behind it
    asked = [dataclasses.replace(r, stops=()) for r in requests(Sampling(max_new_tokens=16))[:2]]
    ours = texts(one.generate(asked))
    for request in asked:
        ids = tokenizer(request.prompt, return_tensors="pt")
        stock = model.generate(**ids, do_sample=False, max_new_tokens=16, eos_token_id=[0, 2], pad_token_id=2)
        new = stock[0, ids["input_ids"].shape[1] :]
        assert ours[request.problem].text == tokenizer.decode(new, skip_special_tokens=True)


def test_chat_ends_with_its_end_token(one: Generator) -> None:
    """A chat answer ends at the end-of-turn token, whose text is not part of it; the template's hash is known."""
    ask = dataclasses.replace(
        requests(Sampling(max_new_tokens=64))[-1],
        prompt=(Message(role="user", content="What is 2 + 2? Answer with the number only."),),
    )
    answer = next(iter(one.generate([ask])))
    assert answer.finish_reason is FinishReason.EOS
    assert "<|" not in answer.text
    fingerprint = one.fingerprint()
    assert fingerprint["model"] == NAME
    assert fingerprint["eos_token_ids"] == [0, 2]
    assert len(fingerprint["chat_template_hash"]) == 16
