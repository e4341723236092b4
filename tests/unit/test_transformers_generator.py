"""The transformers adapter on a tiny random model made on the spot: no download, no network."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Generator, Message, open_generator
from codecard.model import Completion, FinishReason, PromptStyle, Sampling, UsageError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_models import build  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

GREEDY = Sampling(max_new_tokens=24)
WARM = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def generator(folder: Path) -> Iterator[Generator]:
    made = open_generator(str(folder), device="cpu", batch_size=4)
    yield made
    made.close()


def ask(problem: str, prompt: Any = None, **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="starter/py", problem=problem, sample=0, prompt=prompt or f"def {problem}(", sampling=GREEDY
    )
    return dataclasses.replace(base, **changes)


def made(found: Iterator[Completion]) -> dict[tuple[str, str, int], Completion]:
    return {c.id: dataclasses.replace(c, seconds=None) for c in found}


def test_greedy_equals_stock_generate(generator: Generator, folder: Path) -> None:
    """The own decode loop gives the tokens that transformers' own `generate` gives for the lone prompt."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = ["def f(", "class A:\n    pass\n", "é", "x = [1, 2, 3]\nfor i in x:"]
    ours = made(generator.generate([ask(str(n), p) for n, p in enumerate(prompts)]))
    for n, prompt in enumerate(prompts):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        stock = model.generate(ids, do_sample=False, max_new_tokens=24, eos_token_id=[1, 2], pad_token_id=1)
        new = [token for token in stock[0, ids.shape[1] :].tolist() if token not in (1, 2)]
        got = ours["starter/py", str(n), 0]
        assert got.text == tokenizer.decode([t for t in new if t < len(tokenizer)])


def test_a_sample_is_the_same_however_many_are_drawn(generator: Generator) -> None:
    """Sample 1 of two is sample 1 of five; samples, problems and seeds differ among themselves."""
    two = made(generator.generate(ask("f", sample=s, sampling=WARM) for s in range(2)))
    five = made(generator.generate(ask("f", sample=s, sampling=WARM) for s in range(5)))
    assert two.items() <= five.items()
    assert len({c.text for c in five.values()}) == 5
    other = made(generator.generate([ask("f", sampling=WARM, seed=1)]))
    assert other["starter/py", "f", 0].text != five["starter/py", "f", 0].text


def test_each_row_ends_at_its_own_stop(generator: Generator) -> None:
    """Rows of one batch each end at their own stop string, which may straddle tokens and stays in the text."""
    free = made(generator.generate([ask("f"), ask("g")]))
    text = free["starter/py", "f", 0].text
    stop = re.findall(r"[ -~]{3}", text[2:])[0]
    found = made(generator.generate([ask("f", stops=(stop,)), ask("g", stops=("never there",))]))
    cut = found["starter/py", "f", 0]
    assert cut.finish_reason is FinishReason.STOP
    assert cut.text == text[: text.index(stop) + len(stop)]
    assert found["starter/py", "g", 0] == free["starter/py", "g", 0]


def test_a_stop_is_looked_for_in_generated_text_alone(generator: Generator) -> None:
    """A stop string that begins in the prompt does not end the row: only generated text counts."""
    first = made(generator.generate([ask("f", "abc")]))["starter/py", "f", 0].text[0]
    row = made(generator.generate([ask("f", "abc", stops=(f"c{first}",))]))["starter/py", "f", 0]
    assert row.new_tokens is not None
    assert row.new_tokens > 1


@pytest.mark.parametrize(
    ("sampling", "new"),
    [
        (Sampling(max_new_tokens=5), 5),
        (Sampling(max_total_tokens=12), 5),
        (Sampling(max_total_tokens=12, max_new_tokens=3), 3),
        (Sampling(), 121),
    ],
    ids=["new", "total", "tighter", "context"],
)
def test_the_tightest_limit_ends_a_row(folder: Path, sampling: Sampling, new: int) -> None:
    """The tighter of the two limits ends a row, and the model's context does when none is given.

    The prompt has 7 tokens: 6 bytes and the beginning-of-text token.
    """
    quiet: Any = open_generator(str(folder), device="cpu", batch_size=1)
    quiet._eos = frozenset()
    row = next(iter(quiet.generate([ask("f", "abcdef", sampling=sampling)])))
    assert (row.prompt_tokens, row.new_tokens, row.finish_reason) == (7, new, FinishReason.LENGTH)


def test_a_prompt_without_room_is_an_empty_row_that_says_so(generator: Generator) -> None:
    """A prompt that leaves no room gives an empty completion that says so; it is never shortened."""
    long, short = ask("long", "x" * 40, sampling=Sampling(max_total_tokens=41)), ask("short", "x")
    found = made(generator.generate([long, short]))
    row = found["starter/py", "long", 0]
    assert (row.text, row.finish_reason, row.prompt_tokens, row.new_tokens) == ("", "length", 41, 0)
    assert found["starter/py", "short", 0].new_tokens


def test_chat_has_one_beginning_of_text(generator: Generator) -> None:
    """The template writes the beginning-of-text token; the tokenizer must not add a second one."""
    row = next(iter(generator.generate([ask("f", (Message(role="user", content="hi"),))])))
    assert row.style is PromptStyle.CHAT
    assert row.prompt_tokens == len("user:hi") + len("a:") + 2  # <s> and <|im_end|>


def test_every_end_token_ends_a_row(generator: Generator) -> None:
    """A row ends at the generation config's, the tokenizer's and the chat template's end tokens alike."""
    assert generator.fingerprint()["eos_token_ids"] == [1, 2]


def test_other_content_has_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    """Two folders of other content have other fingerprints, though their shapes agree."""
    other = build(tmp_path / "other", template="x{{ messages[0].content }}")
    first = open_generator(str(folder), device="cpu").fingerprint()
    second = open_generator(str(other), device="cpu").fingerprint()
    assert first["revision"] != second["revision"]
    assert first["chat_template_hash"] != second["chat_template_hash"]
    assert first["dtype"] == "float32"


def test_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    """A base model that is asked in chat form is refused in one line that names a way out."""
    generator = open_generator(str(build(tmp_path / "base", template=None)), device="cpu")
    with pytest.raises(UsageError, match="chat template"):
        list(generator.generate([ask("f", (Message(role="user", content="hi"),))]))


def test_a_template_that_raises_is_a_usage_error(tmp_path: Path) -> None:
    """A template that raises (no system turn, say) is a usage error, not a traceback."""
    folder = build(tmp_path / "strict", template="{{ raise_exception('no system turn') }}")
    with pytest.raises(UsageError, match="no system turn"):
        list(open_generator(str(folder)).generate([ask("f", (Message(role="system", content="x"),))]))


def test_a_broken_folder_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    """A folder without config or weights, or with a torn file, is told in one line naming the folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"empty: no config\.json"):
        open_generator(str(empty))
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (empty / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match="no weights"):
        open_generator(str(empty))
    (empty / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot load the model"):
        open_generator(str(empty))


def test_a_checkpoint_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    """A checkpoint that lacks a tensor is refused; the library would fill it with random numbers."""
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"1 tensors are missing.*up_proj"):
        open_generator(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"dtype": "int3"}, "dtype"), ({"device": "toaster"}, "device"), ({"batch_size": 0}, "batch size")],
    ids=["dtype", "device", "batch"],
)
def test_a_bad_option_is_refused(folder: Path, options: dict[str, Any], said: str) -> None:
    """An option that means nothing is refused, never replaced by a default."""
    with pytest.raises(UsageError, match=said):
        open_generator(str(folder), **options)


def unreachable(self: Any, *given: Any, **options: Any) -> None:
    raise ConnectionError("Name or service not known\n")


def test_a_model_that_cannot_be_fetched_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Hub model that cannot be fetched is told in one line with cause and remedy, at the first refusal."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    said = r"hf:no-such-org/no-model: the Hub cannot be reached \(Name or service not known\) .* pass a folder"
    with pytest.raises(UsageError, match=said) as told:
        open_generator("hf:no-such-org/no-model@main")
    assert "\n" not in str(told.value)
