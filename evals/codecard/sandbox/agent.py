"""The process with pid 1 inside a slot: runs one program at a time and leaves nothing of it behind.

It is started by every adapter in the same way, needs only the standard library, and is untrusted by the host:
whatever it answers is checked there. Programs run under the same user id as the agent, so it protects itself:
it is not dumpable (no ptrace, no /proc/1/mem, no /proc/1/environ), it has pid 1 (signals from inside its
namespace do not reach it), and it filters system calls for itself and everything it starts.

Wire format, both ways, over one stream socket: 4 bytes big-endian length, that many bytes of JSON, then the
blobs whose lengths the JSON lists under "blobs".
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

SCRATCH = "/tmp"
WORK = "/tmp/work"
WRITABLE = (SCRATCH, "/dev/shm", "/dev/mqueue")
KEEP_BYTES = 4096  # of each end of each stream
TICK_S = 0.05
LOAD_FACTOR = 10  # however busy the machine, a program never lasts longer than this many wall limits
SILENT = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
OOM_FILES = (
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/sys/fs/cgroup/memory.events",
    "/cgroup/memory.oom_control",
    "/cgroup/memory.events",
)


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


# ---------------------------------------------------------------- system calls nobody needs


# x86-64 and aarch64 numbers of calls that no test program needs. Docker's default profile is in force besides
# under Docker; under bubblewrap this filter is the only one.
FORBIDDEN: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "personality": (135, 92),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
NEW_NAMESPACES = 0x7E020080  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWTIME
LIBC = ctypes.CDLL(None, use_errno=True)
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22


def seccomp_program(machine: str) -> bytes:
    """The filter as classic BPF: forbidden calls fail with EPERM, clone3 with ENOSYS so that libc falls back."""
    column = 0 if machine == "x86_64" else 1
    allow, eperm, enosys = 0x7FFF0000, 0x00050001, 0x00050026
    load_nr, load_arch, load_arg0 = (0x20, 0, 0, 0), (0x20, 0, 0, 4), (0x20, 0, 0, 16)

    def jump_if_equal(value: int, yes: int, no: int) -> tuple[int, int, int, int]:
        return (0x15, yes, no, value)

    def answer(value: int) -> tuple[int, int, int, int]:
        return (0x06, 0, 0, value)

    code = [load_arch, jump_if_equal(AUDIT_ARCH[machine], 1, 0), answer(eperm), load_nr]
    if machine == "x86_64":  # the x32 ABI has its own numbers: refuse it whole
        code += [(0x35, 0, 1, 0x40000000), answer(eperm)]
    for numbers in FORBIDDEN.values():
        code += [jump_if_equal(numbers[column], 0, 1), answer(eperm)]
    code += [jump_if_equal(CLONE3[column], 0, 1), answer(enosys)]
    code += [jump_if_equal(CLONE[column], 0, 3), load_arg0, (0x45, 0, 1, NEW_NAMESPACES), answer(eperm)]
    code += [answer(allow)]
    return b"".join(struct.pack("HBBI", op, yes, no, value) for op, yes, no, value in code)


def protect() -> None:
    """Make the agent unreadable, give up privileges for good, and install the filter."""
    filter_code = seccomp_program(os.uname().machine)
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
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    )
    for which, soft, hard in caps:
        old_hard = resource.getrlimit(which)[1]
        hard = hard if old_hard == resource.RLIM_INFINITY else min(hard, old_hard)
        resource.setrlimit(which, (min(soft, hard), hard))
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


def waited(pid: int) -> float:
    """Seconds that a process was ready to run but another had its core (0 where the kernel does not say)."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def usage(pids: list[int]) -> tuple[float, int]:
    """CPU seconds and resident bytes of live processes."""
    cpu, memory = 0.0, 0
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rsplit(b")", 1)[1].split()
            cpu += (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / tick
            memory += int(fields[21]) * page
    return cpu, memory


def proportional(pids: list[int]) -> int:
    """Bytes that processes really hold: shared pages are counted once."""
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
        self.ready: dict[int, float] = {}
        self.last = (0.0, 0.0)  # wall and CPU at the last look

    def go(self) -> None:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        kills = oom_kills()
        started = time.monotonic()
        self.main = spawn(self.request, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self._watch({out_read: self.out, err_read: self.err}, started)
        self.wall = time.monotonic() - started
        self.oom = oom_kills() > kills

    def _watch(self, pipes: dict[int, Stream], started: float) -> None:
        """Drain the pipes until the main process ends. Never waits for end-of-file: orphans may hold it."""
        pidfd = os.pidfd_open(self.main)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self.channel, select.POLLHUP)
        for fd in pipes:
            os.set_blocking(fd, False)
            poller.register(fd, select.POLLIN)
        open_pipes = dict(pipes)
        ended = False
        last_tick = started
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
                self._check(now - started)
            if not self.killed and self.out.total + self.err.total > self.limits["output_bytes"]:
                self._kill("output")
        os.close(pidfd)
        self._reap()
        for fd in pipes:
            os.close(fd)

    def _check(self, wall: float) -> None:
        live = others()
        live_cpu, memory = usage(live)
        cpu = self.cpu + live_cpu
        self._credit(live, wall, cpu)
        own_wall = max(wall - self.delayed, wall / LOAD_FACTOR)
        if cpu > self.limits["cpu_s"]:
            self._kill("cpu")
        elif own_wall > self.limits["wall_s"]:
            self._kill("wall")
        elif self.limits["watch_memory"] and memory > self.limits["memory_bytes"] < proportional(live):
            self._kill("memory")
        self._reap_orphans()

    def _credit(self, live: list[int], wall: float, cpu: float) -> None:
        """What the machine's load took from the program since the last look: the longest that any of its
        processes waited for a core, less what the program itself used of one meanwhile."""
        before, self.ready = self.ready, {pid: waited(pid) for pid in live}
        longest = max((now - before.get(pid, 0.0) for pid, now in self.ready.items()), default=0.0)
        elapsed, used = wall - self.last[0], cpu - self.last[1]
        self.delayed += max(0.0, min(longest, elapsed - used))
        self.last = (wall, cpu)

    def _kill(self, reason: str) -> None:
        self.killed = reason
        kill_others()

    def _reap(self) -> None:
        _, status, used = os.wait4(self.main, 0)
        self.status = status
        self._count(used)
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        """Collect what else has ended, but never the main process: its status is read once, by `_reap`."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or (found.si_pid == self.main and self.status is None):
                return
            _, _, used = os.wait4(found.si_pid, 0)
            self._count(used)

    def _count(self, used: resource.struct_rusage) -> None:
        self.cpu += used.ru_utime + used.ru_stime
        self.peak = max(self.peak, used.ru_maxrss * 1024)

    def sweep(self) -> bool:
        """Kill every other process and empty every writable place. True when nothing is left."""
        deadline = time.monotonic() + 3
        while others():
            kill_others()
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
    for place in WRITABLE:
        if not os.path.isdir(place):
            continue
        for entry in os.scandir(place):
            remove(entry.path, entry.is_dir(follow_symlinks=False))
    return not any(os.listdir(place) for place in WRITABLE if os.path.isdir(place))


def remove(path: str, folder: bool) -> None:
    if not folder:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    # rm(1) and not shutil: no recursion limit, whatever the depth of the tree
    for command in (["rm", "-rf", path], ["chmod", "-R", "u+rwx", path], ["rm", "-rf", path]):
        if not os.path.lexists(path):
            return
        pid = os.posix_spawnp(command[0], command, {"PATH": os.defpath}, file_actions=SILENT)
        os.waitpid(pid, 0)


def place_files(names: list[str], contents: list[bytes]) -> None:
    os.mkdir(WORK, 0o700)
    for name, content in zip(names, contents, strict=True):
        path = os.path.join(WORK, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o700)


def collect(names: list[str], limit: int) -> dict[str, bytes]:
    """Regular files of the work folder; a folder stands for all files in it. Links are never followed."""
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
                size = os.fstat(fd).st_size
                if size > room:
                    raise ValueError(f"build output over {limit} bytes")
                room -= size
                found[os.path.relpath(path, WORK)] = file.read(size)
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
        kill_others()
        proof = request.get("proof", "")
        answer = run.report()
        answer["proved"] = bool(proof) and os.path.exists(os.path.join(SCRATCH, proof))
        built: dict[str, bytes] = {}
        if run.status == 0:
            built = collect(request.get("collect", []), request["limits"]["file_bytes"])
        answer["collected"] = list(built)
        answer["clean"] = run.sweep()
        send(channel, answer, [run.out.kept(), run.err.kept(), *built.values()])
        if not answer["clean"]:
            return


def main() -> None:
    os.umask(0o077)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(sys.argv[1])
    protect()
    serve(channel)


if __name__ == "__main__":
    main()
