"""The server backend: whatever a server does, a row is right or missing, and the key stays where it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from codecard.generate import GenerationRequest, Message, open_generator
from codecard.generate import openai_ as backend
from codecard.generate.openai_ import OpenAIGenerator
from codecard.generate.openai_wire import KEY_VARIABLE, Patience
from codecard.model import Completion, FinishReason, InfrastructureError, Sampling, UsageError
from servers import Behaviour, cut, endless, endless_error, first_fails, raw, reply, serving, status

KEY = "sk-test-0123456789"
HELLO = (Message(role="user", content="hello"),)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Back-off without its pauses; the number of tries stays as set."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with stamina.set_testing(True, attempts=6, cap=True):
        yield


def request(problem: str = "1", sample: int = 0, **fields: Any) -> GenerationRequest:
    given: dict[str, Any] = {"prompt": HELLO, "sampling": Sampling(max_new_tokens=16)} | fields
    return GenerationRequest(task="t", problem=problem, sample=sample, **given)


def ask(url: str, *requests: GenerationRequest, **options: Any) -> tuple[list[Completion], dict[Any, str]]:
    patience = Patience(reply_s=options.pop("reply_s", 20.0), attempts=options.pop("attempts", 3))
    generator = OpenAIGenerator("m", base_url=url, patience=patience, **options)
    try:
        return list(generator.generate(requests)), generator.failures
    finally:
        generator.close()


FAULTS: dict[str, Behaviour] = {
    "429": status(429, "slow down", retry_after="0"),
    "500": status(500),
    "503": status(503),
    "cut": cut,
    "not-json": raw(b"<html>bad gateway</html>"),
    "half-json": raw(b'{"choices": [{"mess'),
    "not-an-object": raw(b"[1, 2]"),
    "deep-json": raw(b"[" * 200_000),
    "no-choices": raw(b'{"choices": []}'),
    "null-choices": raw(b'{"choices": null}'),
    "null-text": raw(b'{"choices": [{"message": {"content": null}}]}'),
    "endless": endless,
    "endless-error": endless_error,
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_costs_a_retry_and_no_row(name: str) -> None:
    """A server that fails twice and then answers must lose nothing, and see the same seed each time."""
    with serving(first_fails(FAULTS[name], 2, reply("fine"))) as server:
        completions, failures = ask(server.url, request())
        assert [c.text for c in completions] == ["fine"]
        assert failures == {}
        assert len({json.dumps(body) for body in server.bodies}) == 1
        assert len(server.log) == 3


@pytest.mark.parametrize("name", FAULTS)
def test_lasting_fault_is_a_missing_row_with_its_reason(name: str) -> None:
    """A row that no try answers is missing; an empty completion would be scored as wrong."""
    with serving(FAULTS[name]) as server:
        completions, failures = ask(server.url, request("1"), request("2"), attempts=2)
        assert completions == []
        assert set(failures) == {("t", "1", 0), ("t", "2", 0)}
        assert all(failures.values())
        assert len(server.log) == 4


def test_refused_request_is_not_repeated() -> None:
    """A prompt too long for the server (400) is asked once."""
    with serving(status(400, "context length exceeded")) as server:
        completions, failures = ask(server.url, request())
        assert completions == []
        assert "context length exceeded" in failures["t", "1", 0]
        assert len(server.log) == 1


def test_error_in_another_form_is_told_too() -> None:
    """A server that is not OpenAI's says why in its own words, and they are kept."""

    def behave(handler: Any, _: Any) -> None:
        handler.send(400, json.dumps({"detail": "Server is pinned to another model"}).encode())

    with serving(behave) as server:
        _, failures = ask(server.url, request())
        assert failures["t", "1", 0] == "HTTP 400: Server is pinned to another model"


def test_dribbled_reply_ends_at_the_deadline() -> None:
    """A reply that trickles byte by byte never times out between bytes; the deadline of the whole reply ends it."""

    def dribble(handler: Any, _: Any) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"1\r\n \r\n")
                handler.wfile.flush()
        except OSError:
            return

    with serving(dribble) as server:
        completions, failures = ask(server.url, request(), attempts=1, reply_s=0.2)
        assert completions == []
        assert "not finished" in failures["t", "1", 0]


@pytest.mark.parametrize(("code", "words"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "does not know")])
def test_hopeless_server_stops_the_run_with_the_remedy(code: int, words: str) -> None:
    """A wrong key is wrong for every row: it must not become thousands of voids."""
    with serving(status(code)) as server, pytest.raises(InfrastructureError, match=words):
        ask(server.url, *(request(str(i)) for i in range(50)))


def test_dead_server_stops_the_run_before_every_row_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that went away must not cost hours of retries, row by row."""
    monkeypatch.setattr(backend, "_GIVE_UP_AFTER", 3)
    with serving(status(500)) as server, pytest.raises(InfrastructureError, match="3 requests in a row"):
        ask(server.url, *(request(str(i)) for i in range(1000)), attempts=1, workers=1)
    assert len(server.log) < 10


def test_key_reaches_the_request_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """A server that echoes the key in its error does not bring it into the run's files."""
    caplog.set_level(logging.DEBUG, logger="stamina")
    with serving(status(500, f"bad key {KEY}")) as server:
        _, failures = ask(server.url, request(), attempts=2)
        sent = {name.lower(): value for name, value in server.log[0][1].items()}
        assert sent["authorization"] == f"Bearer {KEY}"
        assert "bad key ***" in failures["t", "1", 0]
        generator = OpenAIGenerator("m", base_url=server.url)
        assert KEY not in json.dumps(generator.fingerprint())
        assert KEY not in repr(vars(generator)) + caplog.text
        generator.close()


def test_ignored_stop_is_cut_here() -> None:
    """A server that ignores `stop` runs on into the next function; the text ends at the stop all the same."""
    with serving(reply("return 1\n\ndef other(): pass")) as server:
        completions, _ = ask(server.url, request(prompt="def f():\n    ", stops=("\ndef", "\nclass")))
        assert completions[0].text == "return 1\n\ndef"
        assert completions[0].finish_reason is FinishReason.STOP
        assert server.log[0][0] == "/v1/completions"


def test_more_stops_than_a_server_takes_are_still_kept() -> None:
    """OpenAI refuses a fifth stop string; the fifth must end the row all the same."""
    stops = ("\na", "\nb", "\nc", "\nd", "\ne")
    with serving(reply("x\ne y")) as server:
        completions, _ = ask(server.url, request(prompt="p", stops=stops))
        assert completions[0].text == "x\ne"
        assert server.bodies[0]["stop"] == list(stops[:4])


def test_samples_are_requests_of_their_own_with_their_own_seed() -> None:
    """Servers that ignore `n` would give one sample where twenty are asked."""
    rows = [request("1", sample, sampling=Sampling(temperature=0.2, max_new_tokens=8)) for sample in range(20)]
    with serving(reply("a")) as server:
        completions, _ = ask(server.url, *rows, workers=4)
        assert sorted(c.sample for c in completions) == list(range(20))
        assert len({body["seed"] for body in server.bodies}) == 20
        assert all("n" not in body for body in server.bodies)
        seeds = sorted(body["seed"] for body in server.bodies)
        ask(server.url, *rows, workers=1)
        assert sorted(body["seed"] for body in server.bodies[20:]) == seeds


def test_limit_on_prompt_and_completion_counts_the_servers_tokens() -> None:
    """512 tokens in all is not 512 new tokens: the prompt's are the server's to count, once per prompt."""
    rows = [request("1", i, prompt="p", sampling=Sampling(max_total_tokens=100)) for i in range(3)]
    with serving(reply("a", prompt_tokens=60)) as server:
        completions, _ = ask(server.url, *rows, workers=3)
        assert [body["max_tokens"] for body in server.bodies] == [1, 40, 40, 40]
        assert {c.prompt_tokens for c in completions} == {60}
    with serving(reply("a", prompt_tokens=100)) as server:
        completions, _ = ask(server.url, *rows, workers=1)
        assert [(c.text, c.finish_reason) for c in completions] == [("", FinishReason.LENGTH)] * 3


def test_requests_are_held_in_bounds() -> None:
    """A million requests must not be read, nor sent, before the first answers are taken."""
    taken = []

    def many() -> Iterator[GenerationRequest]:
        for i in range(10_000):
            taken.append(i)
            yield request(str(i))

    with serving(reply("a")) as server:
        generator = OpenAIGenerator("m", base_url=server.url, workers=2)
        stream = generator.generate(many())
        next(stream)
        assert len(taken) <= 5
        stream.close()  # type: ignore[attr-defined]  # an Iterator by the port, a generator in fact
        generator.close()


def test_bad_addresses_and_missing_keys_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot work is told before anything is asked."""
    for url in ("localhost:8000", "ftp://host/v1", "http://"):
        with pytest.raises(UsageError, match="base URL"):
            open_generator("openai:m", base_url=url)
    with pytest.raises(UsageError, match="holds no key"):
        open_generator("openai:m", base_url=f"https://user:{KEY}@host/v1")
    with pytest.raises(UsageError, match="no name behind openai:"):
        open_generator("openai:", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match="belongs to openai"):
        open_generator("embedded", base_url="http://127.0.0.1:1/v1")
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(UsageError, match=KEY_VARIABLE):
        open_generator("openai:gpt-4-0613")


def test_a_closed_backend_refuses_and_a_left_one_still_retries() -> None:
    """Leaving a stream early switches no retries off; a closed backend says that it is closed, not that a socket is."""
    with serving(first_fails(status(500), 1, reply("fine"))) as server:
        generator = OpenAIGenerator("m", base_url=server.url, workers=1, patience=Patience(attempts=3))
        stream = generator.generate([request(str(i)) for i in range(5)])
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # an Iterator by the port, a generator in fact
        assert [c.text for c in generator.generate([request("later")])] == ["fine"]
        generator.close()
        with pytest.raises(UsageError, match="closed"):
            next(generator.generate([request()]))


def test_prompts_of_one_problem_are_counted_apart() -> None:
    """With the token count of the first, the second prompt of a problem would be cut short or refused."""

    def behave(handler: Any, body: Any) -> None:
        reply("a", prompt_tokens=len(body["prompt"]))(handler, body)

    sampling = Sampling(max_total_tokens=20)
    with serving(behave) as server:
        short, long = request(prompt="p" * 5, sampling=sampling), request(sample=1, prompt="p" * 30, sampling=sampling)
        completions, _ = ask(server.url, short, long, workers=1)
        assert [(c.text, c.prompt_tokens) for c in completions] == [("a", 5), ("", 30)]
        assert [body["max_tokens"] for body in server.bodies] == [1, 15, 1]


@pytest.mark.parametrize(
    ("matched", "text", "reason"),
    [("\ndef", "return 1\ndef", FinishReason.STOP), (None, "return 1", FinishReason.EOS), (2, "return 1", "eos")],
    ids=["stop-string", "end-of-text", "end-token"],
)
def test_stop_that_a_server_cut_off_is_put_back(matched: Any, text: str, reason: str) -> None:
    """A server that names the stop it matched tells it from an end of text, and so does the finish reason."""

    def behave(handler: Any, _: Any) -> None:
        choice = {"index": 0, "finish_reason": "stop", "stop_reason": matched, "text": "return 1"}
        handler.send(200, json.dumps({"choices": [choice]}).encode())

    with serving(behave) as server:
        completions, _ = ask(server.url, request(prompt="p", stops=("\ndef", "\nclass")))
        assert [(c.text, c.finish_reason) for c in completions] == [(text, reason)]
