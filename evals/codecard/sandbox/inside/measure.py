"""What processes use: CPU, memory, waiting; from /proc and from the slot's own cgroup."""

from __future__ import annotations

import contextlib
import os
import resource

CGROUPS = ("/sys/fs/cgroup", "/cgroup")  # where the engine, or the bubblewrap adapter, shows the slot's own
FEW = 16
MEMORY_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("memory/memory.stat", "memory.stat")]
OOM_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("memory/memory.oom_control", "memory.events")]
CPU_FILES = [f"{root}/{name}" for root in CGROUPS for name in ("cpuacct/cpuacct.usage", "cpu.stat")]


def contents(path: str) -> bytes:
    """Of a small file of the kernel's. Read for every program, so without the layers of `open`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def others() -> list[int]:
    """Every process in the namespace but the agent."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def waited(pids: list[int]) -> dict[str, float]:
    """Seconds that each thread was ready to run but another had its core (empty where the kernel does not say)."""
    seconds = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                seconds[thread] = int(contents(f"/proc/{pid}/task/{thread}/schedstat").split()[1]) / 1e9
    return seconds


def usage(pids: list[int]) -> tuple[float, int, int]:
    """CPU seconds and resident bytes of live processes, and how many are running or ready to."""
    cpu, memory, running = 0.0, 0, 0
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = contents(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()
            cpu += (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / tick
            memory += int(fields[21]) * page
            running += fields[0] == b"R"
    return cpu, memory, running


def over(limit: int, pids: list[int], resident: int) -> bool:
    """Whether processes hold more memory than this: as their cgroup counts it, or as they tell themselves."""
    for name in MEMORY_FILES:
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split() for line in contents(name).splitlines())
            return sum(int(counts.get(key, 0)) for key in (b"rss", b"anon", b"shmem")) > limit
    return resident > limit and (len(pids) > FEW or proportional(pids) > limit)


def proportional(pids: list[int]) -> int:
    """Bytes that processes really hold: shared pages are counted once.

    For few processes only: it waits for locks that each of them holds while it forks, and a fork bomb would stop
    the agent with them.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = contents(f"/proc/{pid}/smaps_rollup").splitlines()
            total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))
    return total


def oom_kills() -> int:
    """How often the kernel killed in this cgroup for want of memory; 0 where that cannot be read."""
    for name in OOM_FILES:
        with contextlib.suppress(OSError, ValueError):
            for line in contents(name).splitlines():
                key, _, value = line.partition(b" ")
                if key == b"oom_kill":
                    return int(value)
    return 0


def counted_cpu() -> float | None:
    """CPU seconds that the slot's cgroup has counted but for the agent's own; None where there is none to read.

    What processes tell of themselves is not enough: who ignores SIGCHLD has children that leave no trace.
    """
    for name in CPU_FILES:
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = contents(name).split()
            total = int(words[1]) / 1e6 if words[0] == b"usage_usec" else int(words[0]) / 1e9
            own = resource.getrusage(resource.RUSAGE_SELF)
            return total - own.ru_utime - own.ru_stime
    return None
