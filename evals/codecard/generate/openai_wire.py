"""One exchange with an OpenAI-compatible server, bounded in size and time, its failures sorted into two kinds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from codecard.model import InfrastructureError, UsageError
from codecard.text import in_line

KEY_VARIABLE = "OPENAI_API_KEY"
PUBLIC_URL = "https://api.openai.com/v1"
_REPLY_BYTES = 16 * 1024**2
_ERROR_BYTES, _ERROR_S = 64 * 1024, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request may take (seconds, connection to last byte) and how often it is tried. Between tries the wait
    doubles up to `wait_max_s`; a server's own Retry-After is heeded up to that too."""

    reply_s: float = 600.0
    attempts: int = 6
    wait_max_s: float = 30.0


class Retryable(Exception):
    """A failure that another try may mend: 408, 409, 429, 5xx, a cut connection, an unreadable reply."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Refused(Exception):
    """The server will not answer this one request, however often it is asked."""


class Wire:
    """The openai package's client for `model` at `url`, without its retries. `key` goes nowhere but the request."""

    def __init__(self, url: str, key: str, model: str, reply_s: float) -> None:
        try:
            import openai
        except ImportError:
            raise InfrastructureError("openai: needs its package: pip install 'codecard[openai]'") from None
        self._url, self._key, self._model, self._reply_s = url, key, model, reply_s
        http = openai.DefaultHttpxClient(event_hooks={"response": [self._raise_error]})
        self._client = openai.OpenAI(
            api_key=key or "none", base_url=url, max_retries=0, timeout=min(reply_s, 600.0), http_client=http
        )

    def close(self) -> None:
        self._client.close()

    def send(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        """The reply to `body`, whole. Raises as `exchange` does."""
        data = bytearray()
        self.exchange(body, data.extend, chat=chat)
        return parsed(bytes(data))

    def exchange(self, body: dict[str, Any], take: Callable[[bytes], bool | None], *, chat: bool) -> None:
        """Send `body` and give the reply to `take` as it comes, until it is whole or `take` says enough; never more
        than `_REPLY_BYTES`, nor for longer than `reply_s`. Raises `Retryable`, `Refused`, or `InfrastructureError`
        where no request can succeed."""
        import openai

        api: Any = self._client.chat.completions if chat else self._client.completions
        deadline = time.monotonic() + self._reply_s
        length = 0
        failures: tuple[type[Exception], ...] = (openai.OpenAIError, OSError, *_transport_errors())
        try:
            with api.with_streaming_response.create(**body) as response:
                for chunk in response.iter_bytes():
                    length += len(chunk)
                    if length > _REPLY_BYTES:
                        raise Retryable(f"a reply of more than {_REPLY_BYTES // 1024**2} MiB")
                    if time.monotonic() > deadline:
                        raise Retryable(f"a reply not finished after {self._reply_s:g} s")
                    if take(chunk):
                        return
        except failures as error:
            cause = error.__cause__ or error  # older versions of the package pass an error on as the cause of theirs
            if isinstance(cause, (Retryable, Refused, InfrastructureError)):
                raise cause from None
            raise Retryable(self._scrub(in_line(f"{type(cause).__name__}: {cause}"))) from None

    def _raise_error(self, response: Any) -> None:
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
        code = response.status_code
        reason = self._scrub(f"HTTP {code}: {_said(bytes(data[:_ERROR_BYTES]))}")
        if code in (401, 403):
            raise InfrastructureError(f"{self._url} refused the key ({reason}); set {KEY_VARIABLE}")
        if code == 404:
            raise InfrastructureError(f"{self._url} does not know {self._model!r} ({reason})")
        if code in (408, 409, 429) or code >= 500:
            raise Retryable(reason, _retry_after(response.headers))
        raise Refused(reason)

    def _scrub(self, text: str) -> str:
        """A server may echo what it was sent; the key must reach no log and no file."""
        return text.replace(self._key, "***") if self._key else text


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object; `Retryable` for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Retryable("a reply that is not JSON") from None
    if not isinstance(found, dict):
        raise Retryable("a reply that is not a JSON object")
    return found


def checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base URL {url!r}: expected http://HOST[:PORT]/v1 or https://…")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"a base URL holds no key, user or query; put the key into {KEY_VARIABLE}")
    return url.rstrip("/")


def _said(body: bytes) -> str:
    """The message in an error's body, in one line: OpenAI's form, FastAPI's `detail`, or as it stands."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return in_line(found)


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library under the openai package raises while a body is being read."""
    libraries = [import_module(name) for name in ("httpx2", "httpx") if find_spec(name)]
    return tuple(kind for library in libraries for kind in (library.HTTPError, library.StreamError))


def _retry_after(headers: Any) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
