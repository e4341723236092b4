"""The only places that a program can write to: filled before it, emptied after it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time

SCRATCH = "/tmp"  # noqa: S108 - the sandbox's own
WORK = f"{SCRATCH}/work"
WRITABLE = (SCRATCH, "/dev/shm", "/dev/mqueue")  # noqa: S108
SWEEP_S = 5  # for emptying the scratch; a slot with more in it than that is replaced
COLLECT_BYTES = 64 * 1024**2
SILENT = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]


def place_files(names: list[str], contents: list[bytes]) -> None:
    os.mkdir(WORK, 0o700)
    for name, content in zip(names, contents, strict=True):
        if folder := os.path.dirname(name):
            os.makedirs(os.path.join(WORK, folder), exist_ok=True)
        with open(os.path.join(WORK, name), "wb", opener=lambda path, flags: os.open(path, flags, 0o700)) as file:
            file.write(content)


def collect(names: list[str], room: int) -> dict[str, bytes] | None:
    """Regular files of the work folder; a folder stands for all files in it. Links are never followed.

    None when they are larger than `room` bytes together.
    """
    found: dict[str, bytes] = {}
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
    with contextlib.suppress(OSError):  # nearly always a few plain files, which need no other process
        for entry in os.scandir(path):
            os.unlink(entry.path)
            if time.monotonic() > deadline:
                return
        os.rmdir(path)
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
