"""Streamed replies: a row that nobody else would stop is left at its stop string, and nothing else changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from codecard.generate import GenerationRequest, Message
from codecard.generate.openai_ import OpenAIGenerator
from codecard.generate.openai_stream import Assembly
from codecard.generate.openai_wire import Patience
from codecard.model import Completion, FinishReason, Sampling
from servers import Behaviour, Server, events, first_fails, raw, serving, status

FIVE = ("\na", "\nb", "\nc", "\nd", "\ne")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def ask(server: Server, *problems: str, **fields: Any) -> list[Completion]:
    base: dict[str, Any] = {"prompt": "p", "stops": FIVE, "sampling": Sampling(max_new_tokens=99)} | fields
    generator = OpenAIGenerator("m", base_url=server.url, workers=1, patience=Patience(reply_s=20, attempts=3))
    try:
        return list(generator.generate(GenerationRequest(task="t", problem=p, sample=0, **base) for p in problems))
    finally:
        generator.close()


def test_a_stop_that_is_not_sent_ends_the_row_too() -> None:
    """The fifth stop string is not sent to the server; the row is left where it stands, not at its last token."""
    sent: list[int] = []

    def endless(handler: Any, body: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for number in itertools.count():
                text = {0: "x = 1", 1: "\n", 2: "e = 2"}.get(number, " and on")
                handler.wfile.write(f"data: {json.dumps({'choices': [{'text': text}]})}\n\n".encode())
                sent.append(number)
        except OSError:
            handler.close_connection = True

    with serving(endless) as server:
        (row,) = ask(server, "1")
        assert (row.text, row.finish_reason) == ("x = 1\ne", FinishReason.STOP)
        assert server.bodies[0]["stop"] == list(FIVE[:4])
        assert len(server.log) == 1


def test_server_that_heeds_tells_its_counts() -> None:
    """A server that ends at the stop string by itself is heard to its end, where the token counts are."""
    with serving(events("x", "\ne")) as server:
        (row,) = ask(server, "1")
        assert (row.text, row.prompt_tokens, row.new_tokens) == ("x\ne", 7, 2)
        assert server.bodies[0]["stream_options"] == {"include_usage": True}


def test_deaf_server_is_watched_from_the_second_row_on() -> None:
    """A server that ignores `stop` writes every row to its limit; the first tells, the others are left early."""
    words = ["y", "\na", *(" much" for _ in range(100))]
    with serving(events(*words)) as server:
        rows = ask(server, "1", "2", "3", stops=("\na",))
        assert [row.text for row in rows] == ["y\na"] * 3
        # two are under way at a time, so the second may have been sent before the first told
        assert [bool(body.get("stream")) for body in server.bodies][0::2] == [False, True]


def test_chat_is_read_from_deltas() -> None:
    with serving(events("a\n", "e b", "more")) as server:
        (row,) = ask(server, "1", prompt=(Message(role="user", content="hello"),))
        assert row.text == "a\ne"


def test_server_without_streaming_is_asked_plainly() -> None:
    """A refusal of `stream_options` makes no row void."""

    def behave(handler: Any, body: Any) -> None:
        (status(422, "unexpected field stream_options") if "stream" in body else events("x\ne y"))(handler, body)

    with serving(behave) as server:
        rows = ask(server, "1", "2")
        assert [row.text for row in rows] == ["x\ne"] * 2
        assert sum("stream" in body for body in server.bodies) <= 2


FAULTS: dict[str, Behaviour] = {
    "cut": events("x", finish="", usage=False, done=False),
    "error": raw(b'data: {"error": "out of memory"}\n\n'),
    "no-json": raw(b"data: <html>\n\n"),
    "no-object": raw(b"data: [1]\n\n"),
    "odd-choices": raw(b'data: {"choices": ["x"]}\n\n'),
    "half": raw(b'data: {"choices": [{"te'),
    "nothing": raw(b""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_stream_is_asked_again(name: str) -> None:
    """A stream that breaks is asked again, never taken for an answer."""
    with serving(first_fails(FAULTS[name], 1, events("fine"))) as server:
        (row,) = ask(server, "1")
        assert row.text == "fine"
        assert len(server.log) == 2


@given(st.lists(st.text(min_size=1, max_size=5), max_size=8), st.integers(1, 7))
def test_pieces_never_change_the_text(texts: list[str], size: int) -> None:
    """However the bytes are cut, characters and lines included, the text is the same."""
    rows: list[dict[str, Any]] = [{"choices": [{"text": text}]} for text in texts]
    rows.append({"choices": [{"text": "", "finish_reason": "length", "stop_reason": None}]})
    data = "".join(f"data: {json.dumps(row, ensure_ascii=False)}\r\n\r\n" for row in rows).encode() + b"data: [DONE]"
    assembly = Assembly(("never there",), chat=False)
    for at in range(0, len(data), size):
        assert not assembly.feed(data[at : at + size])
    choice = assembly.reply()["choices"][0]
    assert choice == {"text": "".join(texts), "finish_reason": "length", "stop_reason": None}
