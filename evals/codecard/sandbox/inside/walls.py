"""The walls that the agent raises around itself and around what it starts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
STACK_BYTES = 8 * 1024**2


def protect(filter_code: bytes) -> None:
    """Make the agent unreadable and deaf, give up privileges for good, and install the filter."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # pid 1 gets no signal that it has no handler for
    buffer = ctypes.create_string_buffer(filter_code, len(filter_code))
    header = struct.pack("HxxxxxxP", len(filter_code) // 8, ctypes.addressof(buffer))
    steps = ((PR_SET_DUMPABLE, 0, 0), (PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, 2, ctypes.c_char_p(header)))
    for option, value, pointer in steps:
        if LIBC.prctl(option, value, pointer, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option} failed")


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


def become(
    command: list[str], env: dict[str, str], limits: dict[str, Any], folder: str, streams: dict[int, int], null: int
) -> NoReturn:
    """Turn a fork of the agent into another program, which keeps `streams` (place → descriptor) and nothing else.

    Standard streams that are not among them are /dev/null, opened in the mode `null`. The exec leaves the agent's
    memory behind, and when memory runs out the program goes before the agent does.
    """
    try:
        os.setsid()
        os.umask(0o022)
        nothing, count = os.open("/dev/null", null), max(streams) + 1
        for place in range(count):
            os.dup2(streams.get(place, nothing), place)
        os.closerange(count, 256)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        apply_limits(limits)
        os.chdir(folder)
        os.execvpe(command[0], command, env)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"cannot start: {error}".encode())
    os._exit(127)
