"""The lm-eval adapter on model types of its registry that need no weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Message, open_generator
from codecard.model import Completion, FinishReason, InfrastructureError, PromptStyle, Sampling, UsageError
from servers import Behaviour, reply, serving, status

pytest.importorskip("lm_eval")

GREEDY = Sampling(max_new_tokens=9)
TYPE = "codecard-parrot"


@pytest.fixture(scope="module", autouse=True)
def parrot() -> None:
    """A model type of our own in lm-eval's registry: it says the prompt again, up to the limit in characters."""
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model

    class Parrot(LM):  # type: ignore[misc]  # lm-eval has no types
        def __init__(self, **_: Any) -> None:
            super().__init__()

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

        def generate_until(self, requests: Any) -> list[str]:
            return [text[: options["max_gen_toks"]] for text, options in (request.args for request in requests)]

    register_model(TYPE)(Parrot)


def ask(problem: str = "f", **changes: Any) -> GenerationRequest:
    base = GenerationRequest(
        task="starter/py", problem=problem, sample=0, prompt="def f(", stops=("\ndef", ""), sampling=GREEDY
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def served(behave: Behaviour, kind: str, path: str, requests: list[GenerationRequest]) -> Iterator[Any]:
    """(completions, bodies) of a server asked through one of lm-eval's own server types."""
    with serving(behave) as server:
        where = f"model=m,base_url={server.url}/{path},tokenizer_backend=none,tokenized_requests=False,max_retries=1"
        generator = open_generator(f"lm-eval:{kind},{where}")
        yield list(generator.generate(requests))
        yield server.bodies


def test_any_model_type_of_the_registry_answers() -> None:
    """A request reaches lm-eval with its prompt, stops and limit; the text comes back under the request's name."""
    generator = open_generator(f"lm-eval:{TYPE}")
    found = list(generator.generate(ask(str(n), prompt=f"{n} and more than nine") for n in range(20)))
    assert [(c.problem, c.text) for c in found] == [(str(n), f"{n} and more than nine"[:9]) for n in range(20)]
    assert {c.finish_reason for c in found} == {FinishReason.UNKNOWN}
    completions, bodies = served(reply("a"), "local-completions", "completions", [ask(), ask("g", prompt="x")])
    assert {(c.problem, c.text, c.style) for c in completions} == {(p, "a", PromptStyle.RAW) for p in "fg"}
    assert {body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0] for body in bodies} == {
        "def f(",
        "x",
    }
    assert {body["max_tokens"] for body in bodies} == {9}
    assert {body["temperature"] for body in bodies} == {0}
    assert all("\ndef" in body["stop"] and "" not in body["stop"] for body in bodies)


def test_a_chat_server_gets_the_turns_of_a_dialogue() -> None:
    """A chat server gets the turns, not their text."""
    turns = (Message(role="system", content="Be brief."), Message(role="user", content="hi"))
    chat = ask(prompt=turns, stops=())
    completions, bodies = served(reply("ho"), "local-chat-completions", "chat/completions", [chat])
    assert [(c.text, c.style) for c in completions] == [("ho", PromptStyle.CHAT)]
    assert [turn["content"] for turn in bodies[0]["messages"]] == ["Be brief.", "hi"]


def test_an_answer_that_never_came_is_missing_and_not_empty() -> None:
    """lm-eval puts a placeholder, by default nothing, in place of a null answer: the sample is missing, not wrong."""

    def nothing(handler: Any, _: Any) -> None:
        choice = {"index": 0, "message": {"content": None}, "finish_reason": "stop"}
        handler.send(200, json.dumps({"choices": [choice]}).encode())

    asked = [ask(prompt=(Message(role="user", content="hi"),))]
    completions, _ = served(nothing, "local-chat-completions", "chat/completions", asked)
    assert completions == []
    completions, _ = served(reply(""), "local-chat-completions", "chat/completions", asked)
    assert [c.text for c in completions] == [""]


def test_a_sampled_request_is_refused_with_the_way_out() -> None:
    """lm-eval takes no seed per request: a sampled request is refused with the ways out."""
    generator = open_generator(f"lm-eval:{TYPE}")
    with pytest.raises(UsageError, match="--greedy"):
        list(generator.generate([ask(sampling=Sampling(temperature=0.2, max_new_tokens=9))]))


def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    """Without a tokenizer here, a limit on prompt and completion together is refused, not ignored."""
    generator = open_generator(
        "lm-eval:local-completions,model=m,base_url=http://127.0.0.1:1/v1,tokenizer_backend=none"
    )
    for sampling in (Sampling(), Sampling(max_total_tokens=99), Sampling(max_total_tokens=99, max_new_tokens=9)):
        with pytest.raises(UsageError, match="--max-new-tokens"):
            list(generator.generate([ask(sampling=sampling)]))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lm-eval:", "no name behind lm-eval:"),
        ("lm-eval:huggingfac,pretrained=x", "has no model type 'huggingfac'; it has huggingface"),
        ("lm-eval:hf,pretrained", "expected NAME=VALUE"),
        ("lm-eval:hf,pretrained=/no/such/folder", "cannot open the model"),
    ],
    ids=["nothing", "near-miss", "arguments", "model"],
)
def test_a_bad_form_is_a_usage_error(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_generator(spec)


def test_a_failing_server_is_an_infrastructure_error() -> None:
    with pytest.raises(InfrastructureError, match="lm-eval:local-completions failed"):
        next(served(status(500), "local-completions", "completions", [ask()]))


def test_no_secret_reaches_the_fingerprint() -> None:
    """The arguments decide the output, so they are kept; what looks like a secret is not."""
    spec = "lm-eval:local-completions,model=m,base_url=http://127.0.0.1:1/v1,tokenizer_backend=none,auth_token=s3cret"
    found = open_generator(spec).fingerprint()
    assert (found["model"], found["backend"]) == ("m", "lm-eval/local-completions")
    assert found["arguments"]["base_url"] == "http://127.0.0.1:1/v1"
    assert "s3cret" not in json.dumps(found)


def test_rows_are_read_in_bounds() -> None:
    """A million requests are not read before the first answer."""
    taken = []

    def many() -> Iterator[GenerationRequest]:
        for n in range(1_000_000):
            taken.append(n)
            yield ask(str(n))

    found: Iterator[Completion] = open_generator(f"lm-eval:{TYPE}").generate(many())
    next(found)
    assert len(taken) <= 8
