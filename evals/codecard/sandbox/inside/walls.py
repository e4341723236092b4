"""The walls that the agent raises around itself and around what it starts."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from typing import Any

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


def become_killable() -> None:
    """What a child of the agent sheds before it becomes somebody else: the exec leaves the agent's memory behind,
    and when memory runs out it goes before the agent does."""
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
