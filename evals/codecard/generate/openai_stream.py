"""A streamed reply, put together as it comes, and ended as soon as one of the row's own stop strings is in it.

It changes no text, for a row is cut by the same rule either way; unwatched it would run on to its length limit.
"""

from __future__ import annotations

from typing import Any

from codecard.generate.openai_wire import Retryable, parsed
from codecard.generate.stops import Tail
from codecard.text import in_line

ASKED = {"stream": True, "stream_options": {"include_usage": True}}
_GRACE = 2  # events read after a stop string was seen: a server that heeds it ends by itself, and tells token counts


class Assembly:
    """Takes a reply's bytes, server-sent events or one JSON object (of a server that does not stream)."""

    def __init__(self, stops: tuple[str, ...], *, chat: bool) -> None:
        self._tail = Tail(stops)
        self._chat = chat
        self._rest = b""
        self._plain = False
        self._choice: dict[str, Any] = {}
        self._usage: Any = None
        self._after_stop: int | None = None
        self._done = False

    def feed(self, chunk: bytes) -> bool:
        """Take what came; True when no more is wanted."""
        self._rest += chunk
        if self._plain or (not self._choice and not self._tail.data and self._rest.lstrip()[:1] == b"{"):
            self._plain = True
            return False
        *lines, self._rest = self._rest.split(b"\n")
        return any(line.startswith(b"data:") and self._event(line[5:].strip()) for line in lines)

    def reply(self) -> dict[str, Any]:
        """The reply as an unstreamed one would have it. `Retryable` if it was cut short or makes no sense."""
        if self._plain:
            return parsed(self._rest)
        if self._rest.strip():  # a last line without its end
            self.feed(b"\n")
        if not (self._done or self._after_stop is not None or self._choice.get("finish_reason")):
            raise Retryable("a stream that was cut short")
        text = self._tail.data.decode("utf-8", "surrogatepass")
        said = {"message": {"content": text}} if self._chat else {"text": text}
        return {"choices": [self._choice | said], "usage": self._usage}

    def _event(self, data: bytes) -> bool:
        if data == b"[DONE]":
            self._done = True
            return True
        event = parsed(data)
        if "error" in event:
            raise Retryable(f"an error in mid-stream: {in_line(event['error'])}")
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict):
                raise Retryable("a stream without choices")
            for name in ("finish_reason", "stop_reason"):
                if name in choice and (choice[name] is not None or choice.get("finish_reason")):
                    self._choice[name] = choice[name]
            delta = choice.get("delta") or {}
            text = delta.get("content") if self._chat and isinstance(delta, dict) else choice.get("text")
            hit = isinstance(text, str) and self._tail.feed(text.encode("utf-8", "surrogatepass"))
            if hit and self._after_stop is None:
                self._after_stop = 0
        if self._after_stop is None:
            return False
        self._after_stop += 1
        return self._after_stop > _GRACE
