"""The host's end of the conversation with an agent. What comes back is checked: the agent's side is not trusted."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import os
import platform
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from codecard.model import StageLimits
from codecard.sandbox.inside.wire import read_exactly, send, source_hash
from codecard.sandbox.port import ProtocolBroken, SlotDied, StageAnswer, StageRequest
from codecard.sandbox.seccomp import seccomp_filter

INSIDE = Path(__file__).with_name("inside")
"""The folder of ours that a slot sees, read-only, as /codecard/inside."""
LAUNCH = "import sys; sys.path.insert(0, '/codecard'); from inside.agent import main; main()"
SOCKET_NAME = "socket"
MAX_HEADER = 1 << 20
MAX_BLOBS = 1 << 28
SLOT_LIMITS = StageLimits(cpu_s=0, wall_s=0)
"""Of the walls around a slot: the default memory and process counts."""
KILLED = ("", "cpu", "wall", "memory", "output", "server")
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the sandbox's scratch folder
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


def agent_command() -> list[str]:
    """How every adapter starts the agent, with the paths of the inside."""
    code = base64.b64encode(seccomp_filter(platform.machine())).decode()
    return ["/usr/bin/python3", "-I", "-S", "-B", "-c", LAUNCH, f"/codecard/door/{SOCKET_NAME}", code]


@cache
def inside_hash() -> str:
    """Hash of the inside as it was when this process first looked: a slot that starts another one is refused."""
    return source_hash(INSIDE)


_users = itertools.count(os.getpid())


def own_user() -> int:
    """A user id for a slot: what the kernel counts per user (processes, pipes, queued signals) is then its own.

    From the range that Debian reserves and nobody uses; beyond its size slots share, which only costs that isolation.
    """
    return 65000 + next(_users) % 500


class Door:
    """A socket in a folder of its own, through which exactly one agent calls."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="codecard-"))
        self.folder.chmod(0o755)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self.folder / SOCKET_NAME
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen(1)

    def accept(self, timeout_s: float, still_alive: Callable[[], bool]) -> socket.socket:
        """The agent's connection. The door has to be shut behind it, so that no program can come through."""
        self._listener.settimeout(0.2)
        for _ in range(max(1, int(timeout_s / 0.2))):
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                return connection
            if not still_alive():
                raise SlotDied("the slot ended before its agent called")
        raise SlotDied(f"the slot's agent did not call within {timeout_s:.0f} s")

    def shut(self) -> None:
        self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Channel:
    """A conversation with one agent."""

    def __init__(self, connection: socket.socket, *, held: StageLimits | None) -> None:
        """`held`: the memory and process counts that a cgroup holds, where there is one."""
        self._connection = connection
        self._held = held
        hello, _ = self._receive(timeout_s=30)
        if hello.get("hello") != inside_hash():
            raise ProtocolBroken("the agent is not of this version of codecard; start the command again")

    def run(self, request: StageRequest) -> StageAnswer:
        limits = request.limits
        message: dict[str, Any] = {
            "command": request.command,
            "server": request.server,
            "server_kind": request.server_kind,
            "files": list(request.files),
            "env": ENVIRONMENT,
            "collect": request.collect,
            "proof": request.proof,
            "limits": {
                **asdict(limits),
                "rlimit_pids": 0 if self._held and limits.pids >= self._held.pids else limits.pids,
                # in a group with a share of its own this slows nothing, and the agent stays awake beside a bomb
                "nice": 10 if self._held else 0,
                "watch_memory": not self._held or limits.memory_bytes < self._held.memory_bytes,
            },
        }
        try:
            send(self._connection, message, list(request.files.values()))
        except OSError as error:
            raise SlotDied(f"the agent is gone: {error}") from error
        # ten wall limits is the agent's own longest patience under load; beyond it the agent itself is stuck
        answer, blobs = self._receive(timeout_s=limits.wall_s * 10 + 30)
        try:
            return _answer(answer, blobs)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolBroken(f"the agent's answer makes no sense: {error!r}") from error

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        self._connection.settimeout(timeout_s)
        try:
            (length,) = struct.unpack(">I", read_exactly(self._connection, 4))
            if length > MAX_HEADER:
                raise ProtocolBroken("the agent's answer is too long")
            message = json.loads(read_exactly(self._connection, length))
            sizes = message.pop("blobs")
            if not all(isinstance(n, int) and n >= 0 for n in sizes) or sum(sizes) > MAX_BLOBS:
                raise ProtocolBroken("the agent's answer is too long")
            return message, [read_exactly(self._connection, n) for n in sizes]
        except TimeoutError as error:
            raise SlotDied(f"no answer from the agent within {timeout_s:.0f} s") from error
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise SlotDied(f"the agent is gone: {error!r}") from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.close()


def _answer(answer: dict[str, Any], blobs: list[bytes]) -> StageAnswer:
    names = [str(name) for name in answer["collected"]]
    for name in names:
        if os.path.isabs(name) or ".." in Path(name).parts:
            raise ValueError(f"file name {name!r}")
    exit_code, signal, killed = answer["exit_code"], answer["signal"], answer["killed"]
    if killed not in KILLED:
        raise ValueError(f"killed by {killed!r}")
    return StageAnswer(
        exit_code=None if exit_code is None else int(exit_code),
        signal=None if signal is None else int(signal),
        killed=killed,
        oom=bool(answer["oom"]),
        proved=bool(answer["proved"]),
        clean=bool(answer["clean"]),
        cpu_s=_seconds(answer["cpu_s"]),
        wall_s=_seconds(answer["wall_s"]),
        delayed_s=_seconds(answer["delayed_s"]),
        peak_memory_bytes=int(answer["peak_memory_bytes"]),
        output_bytes=int(answer["output_bytes"]),
        stdout=blobs[0],
        stderr=blobs[1],
        files=dict(zip(names, blobs[2:], strict=True)),
    )


def _seconds(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} seconds")
    return number
