"""Adapter: any OpenAI-compatible server, completions and chat.

Nothing but the text is taken on trust. Servers differ in what they honour: two of three measured ones ignore
`n`, and one leaves the stop string in the text. So every sample is a request of its own with its own seed, a
row is cut here, a retry carries the same seed, and a reply is read up to a size and a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from codecard.generate.port import GenerationRequest
from codecard.model import Completion, FinishReason, InfrastructureError, UsageError

KEY_VARIABLE = "OPENAI_API_KEY"
PUBLIC_URL = "https://api.openai.com/v1"
_STOPS_SENT = 4
"""OpenAI's own limit; a stop string beyond it is found here, only later."""
_REPLY_BYTES = 16 * 1024**2
_ERROR_BYTES, _ERROR_S = 64 * 1024, 10.0
_GIVE_UP_AFTER = 64
"""Requests failed in a row, without one success between, after which the server counts as gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request may take (seconds, connection to last byte) and how often it is tried.

    Between tries the wait doubles up to `wait_max_s`; a server's own Retry-After is heeded up to that too.
    """

    reply_s: float = 600.0
    attempts: int = 6
    wait_max_s: float = 30.0


class _Retryable(Exception):
    """A failure that another try may mend: 408, 409, 429, 5xx, a cut connection, an unreadable reply."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Refused(Exception):
    """The server will not answer this one request, however often it is asked."""


class _ErrorStatus(Exception):
    """A reply with status 400 or more, and what of its body was read."""

    def __init__(self, code: int, body: bytes, headers: Any) -> None:
        super().__init__(f"HTTP {code}")
        self.code = code
        self.body = body
        self.headers = headers


class OpenAIGenerator:
    """Asks `model` at `base_url`. The key is read from the environment and goes nowhere but the request.

    A request that fails after all tries yields no completion; `failures` then holds its reason by (task,
    problem, sample). `InfrastructureError` where no request can succeed: a refused key, an unknown model, a
    server that is gone.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        workers: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        if not model:
            raise UsageError("model 'openai:' names no model; expected openai:NAME")
        self._model = model
        self._url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC_URL)
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        if not self._key and self._url == PUBLIC_URL:
            raise UsageError(f"openai:{model} needs a key: set {KEY_VARIABLE}, or name another server with --base-url")
        self._workers = workers or 8
        self._patience = patience or Patience()
        self._client = _client(self._url, self._key, self._patience)
        self._prompt_tokens: dict[str, int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.failures: dict[tuple[str, str, int], str] = {}

    @property
    def own_endpoint(self) -> bool:
        """Whether this is OpenAI's own endpoint, so that a model's name says which model it is."""
        return self._url == PUBLIC_URL

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
        pending = iter(requests)
        running: dict[Future[Completion], GenerationRequest] = {}
        failed_in_a_row = 0
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="openai")
        try:
            while True:
                while len(running) < self._workers * 2 and (request := next(pending, None)) is not None:
                    running[pool.submit(self._complete, request)] = request
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    request = running.pop(future)
                    try:
                        completion = future.result()
                    except (_Retryable, _Refused) as error:
                        self.failures[request.task, request.problem, request.sample] = str(error)
                        failed_in_a_row += 1
                        if failed_in_a_row >= _GIVE_UP_AFTER:
                            raise self._gone(str(error)) from None
                        continue
                    failed_in_a_row = 0
                    self.failures.pop(completion.id, None)
                    yield completion
        finally:
            if running:  # left early: what is under way must not be tried again, nor waited for
                self._closing.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        self._closing.set()
        self._client.close()

    def _gone(self, reason: str) -> InfrastructureError:
        return InfrastructureError(
            f"{self._url} failed {_GIVE_UP_AFTER} requests in a row, last: {reason}; check the server, then "
            "run the same command again"
        )

    def _complete(self, request: GenerationRequest) -> Completion:
        started = time.monotonic()
        limit = request.sampling.max_new_tokens
        total = request.sampling.max_total_tokens
        if total is not None:
            room = total - self._count_prompt(request)
            limit = room if limit is None else min(limit, room)
        if limit is not None and limit < 1:
            return _completion(request, "", FinishReason.LENGTH, {}, started)
        reply = self._ask(request, limit)
        text, finish = _text_of(reply, request)
        end = _end_of_first_stop(text, request.stops)
        if end is not None:
            return _completion(request, text[:end], FinishReason.STOP, reply, started)
        return _completion(request, text, finish, reply, started)

    def _count_prompt(self, request: GenerationRequest) -> int:
        """Tokens of the prompt as the server counts them, from a request for one token, once per prompt.

        Only the server knows its tokenizer, and a limit on prompt and completion together needs the count.
        """
        name = f"{request.task}\0{request.problem}"
        with self._lock:
            known = self._prompt_tokens.get(name)
        if known is None:
            usage = self._ask(request, 1).get("usage") or {}
            known = usage.get("prompt_tokens")
            if not isinstance(known, int):
                raise UsageError(
                    f"{self._url} does not count a prompt's tokens, so a limit on prompt and completion "
                    "together cannot be kept; give --max-new-tokens"
                )
            with self._lock:
                self._prompt_tokens[name] = known
        return known

    def _ask(self, request: GenerationRequest, limit: int | None) -> dict[str, Any]:
        import stamina

        patience = self._patience
        body = self._body(request, limit)
        reply: dict[str, Any] = {}
        for attempt in stamina.retry_context(
            on=self._wait_before_retry,
            attempts=patience.attempts,
            timeout=None,
            wait_initial=0.5,
            wait_max=patience.wait_max_s,
        ):
            with attempt:
                reply = self._send(body, chat=not isinstance(request.prompt, str))
                _text_of(reply, request)
        return reply

    def _wait_before_retry(self, error: Exception) -> bool | float:
        if not isinstance(error, _Retryable) or self._closing.is_set():
            return False
        return True if error.after_s is None else min(error.after_s, self._patience.wait_max_s)

    def _body(self, request: GenerationRequest, limit: int | None) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "temperature": sampling.temperature,
            "seed": _row_seed(request),
        }
        if isinstance(request.prompt, str):
            body["prompt"] = request.prompt
        else:
            body["messages"] = [{"role": m.role, "content": m.content} for m in request.prompt]
        if limit is not None:
            body["max_tokens"] = limit
        if request.stops:
            body["stop"] = list(request.stops[:_STOPS_SENT])
        extra: dict[str, Any] = {}
        if sampling.temperature > 0:
            body["top_p"] = sampling.top_p
            if sampling.top_k > 0:
                extra["top_k"] = sampling.top_k
        return body | ({"extra_body": extra} if extra else {})

    def _send(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        """One exchange; a reply is never longer than `_REPLY_BYTES` nor slower than the patience."""
        import openai

        api = self._client.chat.completions if chat else self._client.completions
        deadline = time.monotonic() + self._patience.reply_s
        data = bytearray()
        try:
            with api.with_streaming_response.create(**body) as response:
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > _REPLY_BYTES:
                        raise _Retryable(f"a reply of more than {_REPLY_BYTES // 1024**2} MiB")
                    if time.monotonic() > deadline:
                        raise _Retryable(f"a reply not finished after {self._patience.reply_s:g} s")
        except _ErrorStatus as error:
            raise self._status_error(error) from None
        except (openai.OpenAIError, OSError) as error:
            if isinstance(error.__cause__, _ErrorStatus):  # as older versions of the package pass it on
                raise self._status_error(error.__cause__) from None
            raise _Retryable(self._scrub(_cause(error))) from None
        except _transport_errors() as error:
            raise _Retryable(self._scrub(_cause(error))) from None
        try:
            reply = json.loads(data)
        except ValueError:
            raise _Retryable("a reply that is not JSON") from None
        if not isinstance(reply, dict):
            raise _Retryable("a reply that is not a JSON object")
        return reply

    def _status_error(self, error: _ErrorStatus) -> Exception:
        code = error.code
        reason = self._scrub(f"HTTP {code}: {_said(error.body)}")
        if code in (401, 403):
            return InfrastructureError(f"{self._url} refused the key ({reason}); set {KEY_VARIABLE}")
        if code == 404:
            return InfrastructureError(f"{self._url} does not know {self._model!r} ({reason})")
        if code in (408, 409, 429) or code >= 500:
            return _Retryable(reason, _retry_after(error.headers))
        return _Refused(reason)

    def _scrub(self, text: str) -> str:
        """A server may echo what it was sent; the key must reach no log and no file."""
        return text.replace(self._key, "***") if self._key else text


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base URL {url!r}: expected http://HOST[:PORT]/v1 or https://…")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"a base URL holds no key, user or query; put the key into {KEY_VARIABLE}")
    return url.rstrip("/")


def _client(url: str, key: str, patience: Patience) -> Any:
    try:
        import openai
    except ImportError:
        raise InfrastructureError("openai: needs its package: pip install 'codecard[openai]'") from None
    http = openai.DefaultHttpxClient(event_hooks={"response": [_read_error]})
    timeout = min(patience.reply_s, 600.0)
    return openai.OpenAI(api_key=key or "none", base_url=url, max_retries=0, timeout=timeout, http_client=http)


def _read_error(response: Any) -> None:
    """Take an error's body before the openai package does, which would read an endless one to the end."""
    if not response.is_error:
        return
    data = bytearray()
    deadline = time.monotonic() + _ERROR_S
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > _ERROR_BYTES or time.monotonic() > deadline:
            break
    response.close()
    raise _ErrorStatus(response.status_code, bytes(data[:_ERROR_BYTES]), response.headers)


def _said(body: bytes) -> str:
    """The message in an error's body, in one line: OpenAI's form, FastAPI's `detail`, or as it stands."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return " ".join(str(found).split())[:200]


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library under the openai package raises while a body is being read."""
    found: list[type[Exception]] = []
    for name in ("httpx2", "httpx"):
        try:
            module = __import__(name)
        except ImportError:
            continue
        found += [module.HTTPError, module.StreamError]
    return tuple(found)


def _cause(error: BaseException) -> str:
    inner = error.__cause__ or error
    return " ".join(f"{type(inner).__name__}: {inner}".split())[:200]


def _retry_after(headers: Any) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _row_seed(request: GenerationRequest) -> int:
    """31 bits of (seed, task, problem, sample): the same row has the same seed in every run and retry."""
    name = "\0".join((str(request.seed), request.task, request.problem, str(request.sample)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def _text_of(reply: dict[str, Any], request: GenerationRequest) -> tuple[str, FinishReason]:
    """The first choice's text and how it ended. A server cannot tell a stop string from its end of text."""
    try:
        choice = reply["choices"][0]
        text = choice["text"] if isinstance(request.prompt, str) else choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise _Retryable("a reply without choices") from None
    if not isinstance(text, str):
        raise _Retryable("a reply without text")
    reason = choice.get("finish_reason")
    if reason == "length":
        return text, FinishReason.LENGTH
    if reason == "stop":
        return text, FinishReason.STOP if request.stops else FinishReason.EOS
    return text, FinishReason.UNKNOWN


def _end_of_first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    """End of the stop string that is complete first; it stays in the text, as the port asks."""
    ends = [place + len(stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    return min(ends, default=None)


def _completion(
    request: GenerationRequest, text: str, finish: FinishReason, reply: dict[str, Any], started: float
) -> Completion:
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt_tokens, new_tokens = (count if type(count) is int else None for count in counts)
    return Completion(
        task=request.task,
        problem=request.problem,
        sample=request.sample,
        text=text,
        style=request.style,
        finish_reason=finish,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        seconds=time.monotonic() - started,
    )
