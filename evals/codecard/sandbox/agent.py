"""The process with pid 1 inside a slot: runs one program at a time and leaves nothing of it behind.

It is started by every adapter in the same way, needs only the standard library, and is untrusted by the host:
whatever it answers is checked there. Programs run under the same user id as the agent, so it protects itself:
it is not dumpable (no ptrace, no /proc/1/mem, no /proc/1/environ), it has pid 1 and no signal handlers (signals
from inside its namespace do not reach it), and it filters system calls for itself and everything it starts.

Wire format, both ways, over one stream socket: 4 bytes big-endian length, that many bytes of JSON, then the
blobs whose lengths the JSON lists under "blobs".
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time
from typing import Any

SCRATCH = "/tmp"  # noqa: S108 - the sandbox's own
WORK = f"{SCRATCH}/work"
WRITABLE = (SCRATCH, "/dev/shm", "/dev/mqueue")  # noqa: S108
KEEP_BYTES = 4096  # of each end of each stream
TICK_S = 0.05
SWEEP_S = 5  # for emptying the scratch; a slot with more in it than that is replaced
REAPED_AT_ONCE = 1000
FEW = 16
STACK_BYTES = 8 * 1024**2
COLLECT_BYTES = 64 * 1024**2
LOAD_FACTOR = 10  # however busy the machine, a program never lasts longer than this many wall limits
FOREVER_S = 10**8
SILENT = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
CGROUPS = ("/sys/fs/cgroup", "/cgroup")  # where the engine, or the bubblewrap adapter, shows the slot's own
OOM_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("memory/memory.oom_control", "memory.events")]
MEMORY_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("memory/memory.stat", "memory.stat")]
CPU_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("cpuacct/cpuacct.usage", "cpu.stat")]


# ---------------------------------------------------------------- wire


def send(channel: socket.socket, message: dict[str, Any], blobs: list[bytes]) -> None:
    header = json.dumps({**message, "blobs": [len(b) for b in blobs]}).encode()
    channel.sendall(b"".join([struct.pack(">I", len(header)), header, *blobs]))


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """One message. Raises EOFError when the peer is gone."""
    (length,) = struct.unpack(">I", read_exactly(channel, 4))
    message = json.loads(read_exactly(channel, length))
    return message, [read_exactly(channel, n) for n in message.pop("blobs")]


def read_exactly(channel: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise EOFError("the peer closed the channel")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


# ---------------------------------------------------------------- walls around the agent itself


LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22


def protect(filter_code: bytes) -> None:
    """Make the agent unreadable and deaf, give up privileges for good, and install the filter."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # pid 1 gets no signal that it has no handler for
    buffer = ctypes.create_string_buffer(filter_code, len(filter_code))
    header = struct.pack("HxxxxxxP", len(filter_code) // 8, ctypes.addressof(buffer))
    steps = (
        (PR_SET_DUMPABLE, 0, 0),
        (PR_SET_NO_NEW_PRIVS, 1, 0),
        (PR_SET_SECCOMP, 2, ctypes.c_char_p(header)),
    )
    for option, value, pointer in steps:
        if LIBC.prctl(option, value, pointer, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option} failed")


# ---------------------------------------------------------------- warm servers


sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import Server, ServerFailed, compile_inside, fork_program, program_status  # type: ignore[import-not-found]  # noqa: E402

SERVERS: dict[int, Server] = {}  # pid → server; a slot has one at most


def warm_server(request: dict[str, Any], start: bool = True) -> Server:
    command, limits = request["server"], {**request["limits"], "cpu_s": FOREVER_S}
    for server in SERVERS.values():
        if server.command == command and server.limits == limits:  # programs inherit the server's
            return server
    if not start:
        raise ServerFailed("the server is gone")
    forget_server()

    def prepare() -> None:
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
        apply_limits(limits)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    server = Server(command, request["env"], prepare)
    server.limits = limits
    SERVERS[server.pid] = server
    return server


def forget_server() -> None:
    for pid in list(SERVERS):
        SERVERS.pop(pid).kill()


# ---------------------------------------------------------------- one program


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


def apply_limits(limits: dict[str, Any]) -> None:
    cpu = int(limits["cpu_s"]) + 1
    caps = (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 1, 1),  # at 0 the kernel would still feed a core handler of the host
        (resource.RLIMIT_STACK, STACK_BYTES, resource.RLIM_INFINITY),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    )
    for which, soft, most in caps:
        bounds = [limit for limit in (most, resource.getrlimit(which)[1]) if limit != resource.RLIM_INFINITY]
        hard = min(bounds, default=resource.RLIM_INFINITY)
        resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    os.nice(limits["nice"])
    if limits.get("rlimit_pids"):  # where no cgroup counts processes
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["rlimit_pids"], limits["rlimit_pids"]))


def spawn(request: dict[str, Any], out: int, err: int) -> int:
    """Fork and exec the program; the child gets /dev/null, the two pipes and nothing else."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.umask(0o022)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, 256)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # the exec below leaves the agent's memory behind
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
        apply_limits(request["limits"])
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(WORK)
        command = request["command"]
        os.execvpe(command[0], command, request["env"])
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"cannot start: {error}".encode())
    os._exit(127)


def others() -> list[int]:
    """Every process in the namespace but the agent."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def strays() -> list[int]:
    """Every process but the agent and its warm server."""
    return [pid for pid in others() if pid not in SERVERS]


def waited(pids: list[int]) -> dict[str, float]:
    """Seconds that each thread was ready to run but another had its core (empty where the kernel does not say)."""
    seconds = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
                    seconds[thread] = int(file.read().split()[1]) / 1e9
    return seconds


def usage(pids: list[int]) -> tuple[float, int, int]:
    """CPU seconds and resident bytes of live processes, and how many are running or ready to."""
    cpu, memory, running = 0.0, 0, 0
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rsplit(b")", 1)[1].split()
            cpu += (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / tick
            memory += int(fields[21]) * page
            running += fields[0] == b"R"
    return cpu, memory, running


def over(limit: int, pids: list[int], resident: int) -> bool:
    """Whether processes hold more memory than this: as their cgroup counts it, or as they tell themselves."""
    for name in MEMORY_FILES:
        with contextlib.suppress(OSError, ValueError), open(name) as file:
            counts = dict(line.split() for line in file)
            return sum(int(counts.get(key, 0)) for key in ("rss", "anon", "shmem")) > limit
    return resident > limit and (len(pids) > FEW or proportional(pids) > limit)


def proportional(pids: list[int]) -> int:
    """Bytes that processes really hold: shared pages are counted once.

    For few processes only: it waits for locks that each of them holds while it forks, and a fork bomb would stop
    the agent with them.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps_rollup") as file:
            total += next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return total


def oom_kills() -> int:
    """How often the kernel killed in this cgroup for want of memory; 0 where that cannot be read."""
    for name in OOM_FILES:
        with contextlib.suppress(OSError, ValueError, IndexError), open(name) as file:
            for line in file:
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def counted_cpu() -> float | None:
    """CPU seconds that the slot's cgroup has counted but for the agent's own; None where there is none to read.

    What processes tell of themselves is not enough: who ignores SIGCHLD has children that leave no trace.
    """
    for name in CPU_FILES:
        with contextlib.suppress(OSError, ValueError, IndexError), open(name) as file:
            words = file.read().split()
            total = int(words[1]) / 1e6 if words[0] == "usage_usec" else int(words[0]) / 1e9
            own = resource.getrusage(resource.RUSAGE_SELF)
            return total - own.ru_utime - own.ru_stime
    return None


class Run:
    """One program from start to the last trace of it."""

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
        kind = self.request.get("server_kind")
        try:
            if kind == "inside":
                self.status = compile_inside(warm_server(self.request), self.limits, lambda: self._all_cpu(0.0)) << 8
            elif kind == "fork":
                self._fork()
        except ServerFailed as error:
            forget_server()
            self.killed, self.status = "server", 0
            self.err.feed(str(error).encode())
        if not kind or (self.status == 0 and not self.killed and self.request["command"]):
            self._exec()
        self.wall = time.monotonic() - self.started
        self.cpu = self._all_cpu(self.cpu)
        if not self.killed and self.cpu > self.limits["cpu_s"]:
            self.killed = "cpu"  # by the kernel, or it ended between two looks
        self.oom = oom_kills() > kills

    def _exec(self) -> None:
        """The command, from a fork of the agent."""
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self.status = None
        self.main = spawn(self.request, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self._watch({out_read: self.out, err_read: self.err})

    def _fork(self) -> None:
        """The program in a fork of the warm server."""
        self.main, out_read, err_read = fork_program(warm_server(self.request), self.limits["cpu_s"])
        self._watch({out_read: self.out, err_read: self.err}, served=True)

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
            self.status, cpu, peak = program_status(warm_server(self.request, start=False))
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
            if found.si_pid in SERVERS:
                SERVERS.pop(found.si_pid).control.close()
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

    def report(self) -> dict[str, Any]:
        assert self.status is not None
        return {
            "exit_code": os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None,
            "signal": os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None,
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


def empty_writable() -> bool:
    """True when the writable places are as they were: empty, open to the agent, without attributes."""
    deadline = time.monotonic() + SWEEP_S
    places = [place for place in WRITABLE if os.path.isdir(place)]
    for place in places:
        with contextlib.suppress(OSError):  # where it is the agent's own, a program may have shut it
            os.chmod(place, 0o755)  # noqa: S103
        for name in attributes(place):
            with contextlib.suppress(OSError):
                os.removexattr(place, name)
        for entry in os.scandir(place):
            if time.monotonic() > deadline:
                return False
            remove(entry.path, entry.is_dir(follow_symlinks=False), deadline)
    return not any(os.listdir(place) or attributes(place) for place in places)


def attributes(place: str) -> list[str]:
    """Extended attributes and access lists, but those of the system's own security modules."""
    try:
        return [name for name in os.listxattr(place) if not name.startswith("security.")]
    except OSError:
        return []


def remove(path: str, folder: bool, deadline: float) -> None:
    if not folder:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    # rm(1) and not shutil: no recursion limit, whatever the depth of the tree
    for command in (["rm", "-rf", path], ["chmod", "-R", "u+rwx", path], ["rm", "-rf", path]):
        if not os.path.lexists(path):
            return
        pid = os.posix_spawnp(command[0], command, {"PATH": os.defpath}, file_actions=SILENT)
        pidfd = os.pidfd_open(pid)
        if not select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(pid, 0)


def place_files(names: list[str], contents: list[bytes]) -> None:
    os.mkdir(WORK, 0o700)
    for name, content in zip(names, contents, strict=True):
        path = os.path.join(WORK, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o700)


def collect(names: list[str], limit: int) -> dict[str, bytes] | None:
    """Regular files of the work folder; a folder stands for all files in it. Links are never followed.

    None when they are larger than `limit` bytes together.
    """
    found: dict[str, bytes] = {}
    room = limit
    for name in names:
        top = os.path.join(WORK, name)
        inside = [os.path.join(d, f) for d, _, files in os.walk(top) for f in files] if os.path.isdir(top) else [top]
        for path in inside:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                facts = os.fstat(fd)
                if not stat.S_ISREG(facts.st_mode):
                    continue
                room -= facts.st_size
                if room < 0:
                    return None
                found[os.path.relpath(path, WORK)] = file.read(facts.st_size)
    return found


def serve(channel: socket.socket) -> None:
    send(channel, {"hello": 1, "pid": os.getpid()}, [])
    while True:
        try:
            request, blobs = receive(channel)
        except EOFError:
            return
        run = Run(request, channel.fileno())
        place_files(request["files"], blobs)
        run.go()
        if strays():
            kill_others()
            forget_server()
        proof = request.get("proof", "")
        answer = run.report()
        answer["proved"] = bool(proof) and os.path.exists(os.path.join(SCRATCH, proof))
        wanted = request.get("collect", []) if run.status == 0 else []
        built = collect(wanted, min(request["limits"]["file_bytes"], COLLECT_BYTES))
        if built is None:
            answer["killed"], built = answer["killed"] or "output", {}
        answer["collected"] = list(built)
        answer["clean"] = run.sweep()
        send(channel, answer, [run.out.kept(), run.err.kept(), *built.values()])
        if not answer["clean"]:
            return


def main() -> None:
    os.umask(0o077)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(sys.argv[1])
    protect(base64.b64decode(sys.argv[2]))
    serve(channel)


if __name__ == "__main__":
    main()
