"""Warm starters inside a slot, used by the agent: a process that has already started the interpreter (or compiler)
and forks once per program, or that compiles inside itself.

A server talks to the agent over file descriptor 3. It says `ready`; for each `go <cpu seconds>` a forking server
forks, its child opens the two named pipes in the scratch folder as its stdout and stderr, says its pid, closes the
channel and becomes the program; the server then says `<wait status> <user s> <system s> <peak KiB>`. A compiling
server says only the exit status, and leaves the compiler's words in a file in place of the second pipe. Servers
are as unreadable as the agent; programs can kill or stop them, and then the agent starts another.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from .measure import others
from .walls import become

OUT_PIPE, ERR_PIPE = "/tmp/.out", "/tmp/.err"  # noqa: S108 - the sandbox's own
START_S = 60.0
ANSWER_S = 10.0
SAID_BYTES = 1 << 20
FOREVER_S = 10**8


class ServerFailed(Exception):
    """The server did not start, answer or survive. Says nothing about the program."""


class Server:
    """One warm process, under limits that its programs inherit."""

    def __init__(self, command: list[str], limits: dict[str, Any], env: dict[str, str]) -> None:
        self.command, self.limits = command, limits
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            become(command, env, limits, "/tmp", {3: theirs.fileno()}, os.O_RDWR)  # noqa: S108
        theirs.close()
        self.control = ours
        self._buffer = b""
        try:
            if self.line(START_S) != "ready":
                raise ServerFailed("the server did not get ready")
        except ServerFailed:
            self.kill()
            raise

    def go(self, cpu_s: float) -> None:
        try:
            self.control.sendall(b"go %d\n" % (int(cpu_s) + 1))
        except OSError as error:
            raise ServerFailed(f"the server is gone: {error}") from error

    def line(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not select.select([self.control], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ServerFailed("the server does not answer")
            try:
                data = self.control.recv(4096)
            except OSError as error:
                raise ServerFailed(f"the server is gone: {error}") from error
            if not data:
                raise ServerFailed("the server is gone")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("ascii", "replace")

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.control.close()


SERVERS: dict[int, Server] = {}  # pid → server; a slot has one at most


def warm_server(request: dict[str, Any], start: bool = True) -> Server:
    command, limits = request["server"], {**request["limits"], "cpu_s": FOREVER_S}
    for server in SERVERS.values():
        if server.command == command and server.limits == limits:
            return server
    if not start:
        raise ServerFailed("the server is gone")
    forget_server()
    server = Server(command, limits, request["env"])
    SERVERS[server.pid] = server
    return server


def forget_server() -> None:
    for pid in list(SERVERS):
        SERVERS.pop(pid).kill()


def strays() -> list[int]:
    """Every process but the agent and its warm server."""
    return [pid for pid in others() if pid not in SERVERS]


def fork_program(server: Server, cpu_s: float) -> tuple[int, int, int]:
    """A program about to run in a fork of the server: its pid and the read ends of its stdout and stderr."""
    reads = []
    for path in (OUT_PIPE, ERR_PIPE):
        os.mkfifo(path, 0o600)
        reads.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        server.go(cpu_s)
        return int(server.line(ANSWER_S)), reads[0], reads[1]
    except (ServerFailed, ValueError) as error:
        for fd in reads:
            os.close(fd)
        for path in (OUT_PIPE, ERR_PIPE):
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise ServerFailed(str(error)) from error


def program_status(server: Server) -> tuple[int, float, int]:
    """Wait status, CPU seconds and peak bytes of the program that the server has waited for."""
    fields = server.line(ANSWER_S).split()
    try:
        return int(fields[0]), float(fields[1]) + float(fields[2]), int(fields[3]) * 1024
    except (IndexError, ValueError) as error:
        raise ServerFailed(f"the server's answer makes no sense: {fields}") from error


def compiler_said() -> bytes:
    """What a compiling server left of the compiler's words, their first part."""
    with contextlib.suppress(FileNotFoundError), open(ERR_PIPE, "rb") as file:
        return file.read(SAID_BYTES)
    return b""


def compile_inside(server: Server, limits: dict[str, Any], spent: Callable[[], float]) -> int:
    """Status of a compilation inside the server. Raises ServerFailed when it goes on beyond its limits."""
    started, before = time.monotonic(), spent()
    server.go(limits["cpu_s"])
    while True:
        try:
            return int(server.line(0.1))
        except ValueError as error:
            raise ServerFailed("the server's answer makes no sense") from error
        except ServerFailed as error:
            if "does not answer" not in str(error):
                raise
        if spent() - before > limits["cpu_s"] or time.monotonic() - started > limits["wall_s"]:
            raise ServerFailed("the compilation goes on beyond its limit")
