"""A small OpenAI-compatible server on loopback that can be told to fail, and that logs what it was sent."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Behaviour = Callable[["Handler", Body], None]


class Server(ThreadingHTTPServer):
    """`behave` answers every request; `log` holds (path, headers, body) in the order they came."""

    daemon_threads = True

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.log: list[tuple[str, dict[str, str], Body]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def bodies(self) -> list[Body]:
        return [body for _, _, body in self.log]

    def handle_error(self, request: Any, client_address: Any) -> None:  # a client that hangs up is no news
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.log.append((self.path, dict(self.headers), body))
        self.server.behave(self, body)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


def reply(text: str, *, finish: str = "stop", prompt_tokens: int = 7) -> Behaviour:
    """A good answer, whatever was asked."""

    def behave(handler: Handler, body: Body) -> None:
        message = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        choice = {"index": 0, "finish_reason": finish} | message
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(text.split())}
        handler.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    return behave


def events(*texts: str, finish: str = "stop", usage: bool = True, done: bool = True) -> Behaviour:
    """A good answer in server-sent events, one a text, then the end and the counts; plain where none are asked."""

    def behave(handler: Handler, body: Body) -> None:
        if not body.get("stream"):
            reply("".join(texts), finish=finish)(handler, body)
            return
        chat = "messages" in body
        choices: list[Body] = [{"delta": {"content": text}} if chat else {"text": text} for text in texts]
        rows: list[Body] = [{"choices": [choice | {"finish_reason": None}]} for choice in choices]
        if finish:
            last: Body = {"delta": {}} if chat else {"text": ""}
            rows.append({"choices": [last | {"finish_reason": finish}]})
        if usage:
            rows.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(texts)}})
        lines = [json.dumps(row) for row in rows] + (["[DONE]"] if done else [])
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):  # hung up on
            for line in lines:
                handler.wfile.write(f"data: {line}\n\n".encode())
                handler.wfile.flush()
        handler.close_connection = True

    return behave


def status(code: int, message: str = "no", **headers: str) -> Behaviour:
    def behave(handler: Handler, _: Body) -> None:
        handler.send(code, json.dumps({"error": {"message": message}}).encode(), **headers)

    return behave


def raw(content: bytes) -> Behaviour:
    """A body that is not what was asked for."""

    def behave(handler: Handler, _: Body) -> None:
        handler.send(200, content)

    return behave


def cut(handler: Handler, _: Body) -> None:
    """The connection ends in the middle of the body."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def endless(handler: Handler, _: Body, code: int = 200) -> None:
    """A body that never ends, as fast as it is read."""
    handler.send_response(code)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    block = b" " * 65536
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))


def endless_error(handler: Handler, body: Body) -> None:
    """A failure whose body never ends."""
    endless(handler, body, 500)


@contextlib.contextmanager
def serving(behave: Behaviour) -> Iterator[Server]:
    server = Server(behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def first_fails(failure: Behaviour, times: int, then: Behaviour) -> Behaviour:
    """Each different request fails `times` times, then is answered."""
    seen: dict[str, int] = {}
    lock = threading.Lock()

    def behave(handler: Handler, body: Body) -> None:
        name = json.dumps(body, sort_keys=True)
        with lock:
            seen[name] = seen.get(name, 0) + 1
            failing = seen[name] <= times
        (failure if failing else then)(handler, body)

    return behave
