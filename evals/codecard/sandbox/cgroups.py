"""A control group of its own for a slot that no container engine gives one, under cgroup v1 and v2."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def children_of(pid: int) -> list[int]:
    """Processes that this one started and that are still there."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Cgroup:
    """Memory and process limits, and an even share of the cores with other slots, whatever runs in this one.

    `shown` are the folders whose files tell of CPU time and of kills for want of memory, by their place below
    the agent's `/cgroup`.
    """

    def __init__(self, folders: list[Path], shown: dict[str, Path]) -> None:
        self._folders = folders
        self.shown = shown

    @classmethod
    def make(cls, memory_bytes: int, pids: int) -> Cgroup | None:
        """None where this user may not make one."""
        if os.geteuid() != 0:
            return None
        name = f"codecard-{os.getpid()}-{time.monotonic_ns()}"
        try:
            if (ROOT / "cgroup.controllers").exists():
                return cls._make_v2(name, memory_bytes, pids)
            return cls._make_v1(name, memory_bytes, pids)
        except OSError:
            return None

    @classmethod
    def _make_v1(cls, name: str, memory_bytes: int, pids: int) -> Cgroup:
        memory, processes, cpu, count = (ROOT / kind / name for kind in ("memory", "pids", "cpu", "cpuacct"))
        for folder in (memory, processes, cpu, count):
            folder.mkdir(exist_ok=True)  # cpu and cpuacct are one folder on most machines
        (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        with contextlib.suppress(OSError):  # where the kernel does not account for swap there is none to limit
            (memory / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
        (processes / "pids.max").write_text(str(pids))
        return cls([memory, processes, cpu, count], {"memory": memory, "cpuacct": count})

    @classmethod
    def _make_v2(cls, name: str, memory_bytes: int, pids: int) -> Cgroup:
        folder = ROOT / name
        (ROOT / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        folder.mkdir()
        (folder / "memory.max").write_text(str(memory_bytes))
        with contextlib.suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
        (folder / "pids.max").write_text(str(pids))
        return cls([folder], {"": folder})

    @staticmethod
    def remove_strays() -> None:
        """Groups whose codecard was killed: what ran in them has ended, the folders are still there."""
        for folder in [*ROOT.glob("codecard-*"), *ROOT.glob("*/codecard-*")]:
            pid = folder.name.split("-")[1]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                Cgroup([folder], {}).remove()

    def add(self, pid: int) -> None:
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def add_children_of(self, pid: int) -> None:
        """Whatever was started before `add` took effect."""
        for child in children_of(pid):
            with contextlib.suppress(OSError):
                self.add(child)

    def remove(self) -> None:
        for folder in self._folders:
            for _ in range(50):
                with contextlib.suppress(OSError, ValueError):
                    for pid in (folder / "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                time.sleep(0.02)
