"""One program, from its start to the last trace of it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from typing import Any

from . import servers
from .measure import counted_cpu, oom_kills, over, usage, waited
from .scratch import WORK, empty_writable
from .servers import ServerFailed, forget_server, strays, warm_server
from .walls import become

KEEP_BYTES = 4096  # of each end of each stream
TICK_S = 0.05
KERNEL_COUNTS = 0.9  # the least part of the CPU limit at which its signal was seen: 0.94, under heavy load
REAPED_AT_ONCE = 1000
LOAD_FACTOR = 10  # however busy the machine, a program never lasts longer than this many wall limits


class Stream:
    """The first and last bytes of a stream, and how many there were."""

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.total = 0

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = KEEP_BYTES - len(self.head)
        self.head += data[:room]
        self.tail = (self.tail + data[room:])[-KEEP_BYTES:] if room < len(data) else self.tail

    def kept(self) -> bytes:
        left_out = self.total - len(self.head) - len(self.tail)
        note = b"\n[... %d bytes left out ...]\n" % left_out if left_out else b""
        return self.head + note + self.tail


class Run:
    def __init__(self, request: dict[str, Any], channel: int) -> None:
        self.request = request
        self.channel = channel
        self.limits: dict[str, Any] = request["limits"]
        self.out, self.err = Stream(), Stream()
        self.killed = ""
        self.status: int | None = None
        self.cpu = 0.0
        self.peak = 0
        self.main = 0
        self.delayed = 0.0
        self.ready: dict[str, float] = {}
        self.last = (0.0, 0.0)  # wall and CPU at the last look
        self.counted = counted_cpu()
        self.started = time.monotonic()

    def go(self) -> None:
        kills = oom_kills()
        kind = self.request["server_kind"]
        try:
            if kind == "inside":
                server = warm_server(self.request)
                self.status = servers.compile_inside(server, self.limits, lambda: self._all_cpu(0.0)) << 8
                self.err.feed(servers.compiler_said())
            elif kind == "fork":
                server = warm_server(self.request)
                self.main, out, err = servers.fork_program(server, self.limits["cpu_s"])
                self._watch({out: self.out, err: self.err}, served=True)
        except ServerFailed as error:
            forget_server()
            self.killed, self.status = "server", 0
            self.err.feed(str(error).encode())
        if not kind or (self.status == 0 and not self.killed and self.request["command"]):
            self._exec()
        self.wall = time.monotonic() - self.started
        self.cpu = self._all_cpu(self.cpu)
        # The kernel, which counts in ticks, may have ended it a little below the limit; a program can send that
        # signal to itself at any time.
        least = 1.0 if self._signal() != signal.SIGXCPU else KERNEL_COUNTS
        if not self.killed and self.cpu > least * self.limits["cpu_s"]:
            self.killed = "cpu"  # by the kernel, or it ended between two looks
        self.oom = oom_kills() > kills

    def _exec(self) -> None:
        """The command, from a fork of the agent."""
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self.status = None
        self.main = os.fork()
        if self.main == 0:
            command, env = self.request["command"], self.request["env"]
            become(command, env, self.limits, WORK, {1: out_write, 2: err_write}, os.O_RDONLY)
        os.close(out_write)
        os.close(err_write)
        self._watch({out_read: self.out, err_read: self.err})

    def _watch(self, pipes: dict[int, Stream], served: bool = False) -> None:
        """Drain the pipes until the main process ends. Never waits for end-of-file: orphans may hold it."""
        try:
            pidfd = os.pidfd_open(self.main)
        except ProcessLookupError:  # a program of the server's has ended already
            pidfd = os.eventfd(1, os.EFD_CLOEXEC)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self.channel, select.POLLHUP)
        for fd in pipes:
            os.set_blocking(fd, False)
            poller.register(fd, select.POLLIN)
        open_pipes = dict(pipes)
        ended = False
        last_tick = time.monotonic()
        while not ended:
            events = poller.poll(TICK_S * 1000)
            if any(fd == self.channel for fd, _ in events):
                os._exit(1)  # the host is gone; the kernel ends this namespace with its pid 1
            ended = any(fd == pidfd for fd, _ in events)
            for fd in list(open_pipes):
                if not drain(fd, open_pipes[fd]):
                    poller.unregister(fd)
                    del open_pipes[fd]
            now = time.monotonic()
            if not self.killed and (now - last_tick >= TICK_S or not events):
                last_tick = now
                self._check(now - self.started)
            if not self.killed and self.out.total + self.err.total > self.limits["output_bytes"]:
                self._kill("output")
        os.close(pidfd)
        self._reap_served() if served else self._reap()
        for fd in pipes:
            os.close(fd)

    def _check(self, wall: float) -> None:
        live = strays()
        live_cpu, memory, running = usage(live)
        cpu = self._all_cpu(self.cpu + live_cpu)
        self._credit(live, wall, cpu)
        if self.counted is None and running > 1:
            self.delayed = 0.0  # it may be its own children, uncounted, that keep it from a core
        own_wall = max(wall - self.delayed, wall / LOAD_FACTOR)
        if cpu > self.limits["cpu_s"]:
            self._kill("cpu")
        elif own_wall > self.limits["wall_s"]:
            self._kill("wall")
        elif self.limits["watch_memory"] and over(self.limits["memory_bytes"], live, memory):
            self._kill("memory")
        self._reap_orphans()

    def _credit(self, live: list[int], wall: float, cpu: float) -> None:
        """What the machine's load took from the program since the last look: the longest that any of its
        threads waited for a core, less what the program itself used of one meanwhile."""
        before, self.ready = self.ready, waited(live)
        longest = max((now - before.get(thread, 0.0) for thread, now in self.ready.items()), default=0.0)
        elapsed, used = wall - self.last[0], cpu - self.last[1]
        self.delayed += max(0.0, min(longest, elapsed - used))
        self.last = (wall, cpu)

    def _all_cpu(self, told: float) -> float:
        now = counted_cpu()
        return told if now is None or self.counted is None else max(told, now - self.counted)

    def _kill(self, reason: str) -> None:
        self.killed = reason
        kill_others()

    def _reap_served(self) -> None:
        """What the server says of its program; where the program took the server down, it is our child now."""
        try:
            self.status, cpu, peak = servers.program_status(warm_server(self.request, start=False))
            self.cpu += cpu
            self.peak = max(self.peak, peak)
            self._reap_orphans()
        except ServerFailed as error:
            forget_server()
            try:
                self._reap()
            except ChildProcessError:  # the server reaped it, and was killed before it could tell
                if not self.killed:
                    raise ServerFailed("the server went with the program's status") from error
                self.status = signal.SIGKILL

    def _reap(self) -> None:
        _, status, used = os.wait4(self.main, 0)
        self.status = status
        self._count(used)
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        """Collect what else has ended, but never the main process: its status is read once, by `_reap`."""
        for _ in range(REAPED_AT_ONCE):  # a fork storm may feed this faster than it reaps
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or (found.si_pid == self.main and self.status is None):
                return
            _, _, used = os.wait4(found.si_pid, 0)
            if found.si_pid in servers.SERVERS:
                servers.SERVERS.pop(found.si_pid).control.close()
            else:
                self._count(used)

    def _count(self, used: resource.struct_rusage) -> None:
        self.cpu += used.ru_utime + used.ru_stime
        self.peak = max(self.peak, used.ru_maxrss * 1024)

    def sweep(self) -> bool:
        """Kill every other process and empty every writable place. True when nothing is left."""
        deadline = time.monotonic() + 3
        while strays():
            kill_others()
            forget_server()
            self._reap_orphans()
            if time.monotonic() > deadline:
                return False
        return empty_writable()

    def _signal(self) -> int | None:
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else None

    def report(self) -> dict[str, Any]:
        assert self.status is not None
        return {
            "exit_code": os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None,
            "signal": self._signal(),
            "killed": self.killed,
            "oom": self.oom,
            "cpu_s": round(self.cpu, 4),
            "wall_s": round(self.wall, 4),
            "delayed_s": round(self.delayed, 4),
            "peak_memory_bytes": self.peak,
            "output_bytes": self.out.total + self.err.total,
        }


def drain(fd: int, stream: Stream) -> bool:
    """Read what is there, at most 4 MiB at a time. False at end of file."""
    for _ in range(64):
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        stream.feed(data)
    return True


def kill_others() -> None:
    """From pid 1 this reaches every process in the namespace but the agent, and no fork escapes it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
