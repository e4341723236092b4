"""Adapter: any OpenAI-compatible server, completions and chat.

Nothing but the text is taken on trust. Servers differ in what they honour: two of three measured ones ignore `n`, and
one leaves the stop string in the text. So every sample is a request of its own with its own seed, a row is cut here, a
retry carries the same seed, and a reply is read up to a size and a time. Where a server was not told all of a row's
stop strings, or ignores them, the reply is streamed and left as soon as one is in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from codecard.generate.backends import Opening
from codecard.generate.openai_stream import ASKED, Assembly
from codecard.generate.openai_wire import KEY_VARIABLE, PUBLIC_URL, Patience, Refused, Retryable, Wire, checked_url
from codecard.generate.port import GenerationRequest, Generator, Message
from codecard.generate.prompts import room
from codecard.model import Completion, FinishReason, InfrastructureError, PromptStyle, SampleId, UsageError
from codecard.settings import ModelSpec

_STOPS_SENT = 4  # OpenAI's own limit; for a stop string beyond it the row is watched here while it is written
_SPILL = 256  # characters after a stop string, more than a token holds, that tell that the server went on past it
_GIVE_UP_AFTER = 64  # requests failed in a row, without one success between, after which the server counts as gone


class OpenAIGenerator(Generator):
    """Asks `model` at `base_url`. A request that fails after all tries yields no completion, and its reason is in
    `failures`. `InfrastructureError` where no request can succeed: a refused key, an unknown model, a server that is
    gone."""

    failed_by = "server"

    def __init__(
        self, model: str, *, base_url: str | None = None, workers: int | None = None, patience: Patience | None = None
    ) -> None:
        self._model = model
        self._url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC_URL)
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key and self._url == PUBLIC_URL:
            raise UsageError(f"openai:{model} needs a key: set {KEY_VARIABLE}, or name another server with --base-url")
        self._workers = workers or 8
        self._patience = patience or Patience()
        self._wire = Wire(self._url, key, model, self._patience.reply_s)
        self._prompt_tokens: dict[str | tuple[Message, ...], int] = {}
        self._counting: dict[str | tuple[Message, ...], threading.Lock] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._streams = True
        self._ignores_stops = False
        self.failures: dict[SampleId, str] = {}
        self.own_endpoint = self._url == PUBLIC_URL

    def fingerprint(self) -> dict[str, Any]:
        """What is known of the output's origin: names only, for the server tells no more."""
        return {
            "model": self._model,
            "revision": "",
            "backend": "openai",
            "dtype": "",
            "chat_template_hash": "",
            "base_url": self._url,
            "versions": {"openai": version("openai")},
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """Yield completions as they arrive; at most twice as many requests as workers are held."""
        if self._closed.is_set():
            raise UsageError(f"generator for openai:{self._model} is closed")
        pending = iter(requests)
        left = threading.Event()
        running: dict[Future[Completion], GenerationRequest] = {}
        failed_in_a_row = 0
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="openai")
        try:
            while True:
                while len(running) < self._workers * 2 and (request := next(pending, None)) is not None:
                    running[pool.submit(self._complete, request, left)] = request
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    request = running.pop(future)
                    try:
                        completion = future.result()
                    except (Retryable, Refused) as error:
                        self.failures[request.id] = str(error)
                        failed_in_a_row += 1
                        if failed_in_a_row >= _GIVE_UP_AFTER:
                            raise InfrastructureError(
                                f"{self._url} failed {_GIVE_UP_AFTER} requests in a row, last: {error}; check the "
                                "server, then run the same command again"
                            ) from None
                        continue
                    failed_in_a_row = 0
                    self.failures.pop(completion.id, None)
                    yield completion
        finally:
            if running:  # left early: what is under way must not be tried again, nor waited for
                left.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        self._closed.set()
        self._wire.close()

    def _complete(self, request: GenerationRequest, left: threading.Event) -> Completion:
        started = time.monotonic()
        limit = request.sampling.max_new_tokens
        if request.sampling.max_total_tokens is not None:
            counted = self._count_prompt(request, left)
            limit = room(request.sampling, counted, None, self._model)
            if limit < 1:
                seconds = time.monotonic() - started
                return request.completion("", FinishReason.LENGTH, prompt_tokens=counted, new_tokens=0, seconds=seconds)
        reply = self._ask(request, limit, left)
        text, finish = _text_of(reply, request)
        end = _end_of_first_stop(text, request.stops)
        if end is not None:
            text, finish = text[:end], FinishReason.STOP
        prompt, new = _token_counts(reply)
        seconds = time.monotonic() - started
        return request.completion(text, finish, prompt_tokens=prompt, new_tokens=new, seconds=seconds)

    def _count_prompt(self, request: GenerationRequest, left: threading.Event) -> int:
        """Tokens of the prompt as the server counts them, from a request for one token, once per prompt: a limit on
        prompt and completion together needs the count, and only the server knows its tokenizer."""
        with self._lock:
            turn = self._counting.setdefault(request.prompt, threading.Lock())
        with turn:
            if request.prompt not in self._prompt_tokens:
                counted, _ = _token_counts(self._ask(request, 1, left))
                if counted is None:
                    why = "so a limit on prompt and completion together cannot be kept; give --max-new-tokens"
                    raise UsageError(f"{self._url} does not count a prompt's tokens, {why}")
                self._prompt_tokens[request.prompt] = counted
            return self._prompt_tokens[request.prompt]

    def _ask(self, request: GenerationRequest, limit: int | None, left: threading.Event) -> dict[str, Any]:
        import stamina

        patience = self._patience

        def wait_before_retry(error: Exception) -> bool | float:
            if not isinstance(error, Retryable) or left.is_set() or self._closed.is_set():
                return False
            return True if error.after_s is None else min(error.after_s, patience.wait_max_s)

        # A row is watched while it is written where the server was not told all its stop strings, or ignores them.
        unheeded = len(request.stops) > _STOPS_SENT or (self._ignores_stops and bool(request.stops))
        streamed = self._streams and unheeded and limit != 1
        body = self._body(request, limit)
        retrying = stamina.RetryingCaller(
            attempts=patience.attempts, timeout=None, wait_initial=0.5, wait_max=patience.wait_max_s
        )
        return retrying(wait_before_retry, self._sent, body, request, streamed)

    def _sent(self, body: dict[str, Any], request: GenerationRequest, streamed: bool) -> dict[str, Any]:
        chat = request.style is PromptStyle.CHAT
        if streamed:
            assembly = Assembly(request.stops, chat=chat)
            try:
                self._wire.exchange(body | ASKED, assembly.feed, chat=chat)
                reply = assembly.reply()
                _text_of(reply, request)  # raises where there is none
                return reply
            except Refused as error:
                if "stream" not in str(error):
                    raise
                self._streams = False
        reply = self._wire.send(body, chat=chat)
        text, _ = _text_of(reply, request)
        end = _end_of_first_stop(text, request.stops[:_STOPS_SENT])
        if end is not None and len(text) - end > _SPILL:
            self._ignores_stops = True
        return reply

    def _body(self, request: GenerationRequest, limit: int | None) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {"model": self._model, "temperature": sampling.temperature, "seed": request.row_seed}
        if isinstance(request.prompt, str):
            body["prompt"] = request.prompt
        else:
            body["messages"] = [asdict(message) for message in request.prompt]
        if limit is not None:
            body["max_tokens"] = limit
        if request.stops:
            body["stop"] = list(request.stops[:_STOPS_SENT])
        if sampling.temperature > 0:
            body["top_p"] = sampling.top_p
            if sampling.top_k > 0:
                body["extra_body"] = {"top_k": sampling.top_k}
        return body


def open_model(spec: ModelSpec, opening: Opening) -> Generator:
    return OpenAIGenerator(spec.name, base_url=opening.base_url, workers=opening.batch_size)


def _text_of(reply: dict[str, Any], request: GenerationRequest) -> tuple[str, FinishReason]:
    """The first choice's text and how it ended. "stop" means a stop string as well as the end of text. vLLM tells them
    apart in a field of its own, `stop_reason`: the matched string, which it has cut off and which is put back here."""
    try:
        choice = reply["choices"][0]
        text = choice["text"] if request.style is PromptStyle.RAW else choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise Retryable("a reply without choices") from None
    if not isinstance(text, str):
        raise Retryable("a reply without text")
    reason = choice.get("finish_reason")
    if reason != "stop":
        return text, FinishReason.LENGTH if reason == "length" else FinishReason.UNKNOWN
    if "stop_reason" not in choice:
        return text, FinishReason.STOP if request.stops else FinishReason.EOS
    matched = choice["stop_reason"]
    if matched not in request.stops:  # none, or the number of an end token
        return text, FinishReason.EOS
    return text if matched in text else text + matched, FinishReason.STOP


def _end_of_first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    """End of the stop string that is complete first; it stays in the text, as the port asks."""
    ends = [place + len(stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    return min(ends, default=None)


def _token_counts(reply: dict[str, Any]) -> tuple[int | None, int | None]:
    """Of the prompt and of the completion, where the server tells them."""
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt, new = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return prompt if type(prompt) is int else None, new if type(new) is int else None
