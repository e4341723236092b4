"""A private PostgreSQL server: a cluster in the cache, started for one run on a socket only we can reach.

Invariants. A cluster belongs to one process at a time (a file lock). It is started only if its last use ended
in an orderly stop; after a crash, or an interrupted build, it is thrown away and built again. The judged role
cannot write to it, and we add nothing after the build but the perturbed copies of `codecard.sql.robust`.
PostgreSQL refuses to run as root; then the server runs as `nobody`, and its clusters lie under /var/tmp.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from codecard.files import make_dir
from codecard.model import InfrastructureError, content_key
from codecard.paths import cache_dir
from codecard.sql.binaries import Binaries

ADMIN = "codecard"
MEMORY_BYTES = 768 * 1024**2
"""Address space of each server process: a cell of a few hundred megabytes ends in `out of memory`."""

SLOTS = 8
"""Runs that may use one cluster's content at the same time, each with its own copy."""

KEPT_CLUSTERS = 5
"""Unused clusters kept in the cache, the newest first; each takes about 100 MB."""

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as: nobody where we are root, else ourselves."""

    uid: int
    gid: int
    options: dict[str, Any]

    @classmethod
    def ours(cls) -> Account:
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), {})
        import pwd  # not on every platform

        entry = pwd.getpwnam("nobody")
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return cls(entry.pw_uid, entry.pw_gid, options)

    @property
    def lowered(self) -> bool:
        return bool(self.options)


def clusters_dir() -> Path:
    """Where clusters lie; made here. As root it has to be a place that `nobody` can reach."""
    if os.geteuid() != 0:
        folder = cache_dir() / "postgres"
        make_dir(folder)
        return folder
    override = os.environ.get("CODECARD_CACHE")
    folder = Path(override).absolute() / "postgres" if override else Path("/var/tmp/codecard-postgres")  # noqa: S108
    make_dir(folder)
    status = folder.lstat()
    if status.st_uid != 0 or not stat.S_ISDIR(status.st_mode):
        raise InfrastructureError(f"{folder}: not a folder of root; remove it, or set CODECARD_CACHE")
    folder.chmod(0o755)
    if not reachable(folder):
        raise InfrastructureError(f"{folder}: closed to the user nobody; set CODECARD_CACHE to a folder it can reach")
    return folder


def reachable(path: Path) -> bool:
    """Whether every folder from the root to `path` lets other users pass."""
    folders = [path, *path.parents] if path.is_dir() else path.parents
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def open_to_account(base: Path, parts: Sequence[str], account: Account) -> Path:
    """`base`, or a folder with copies of its `parts` where the server's account cannot reach them there."""
    if not account.lowered or all(reachable(base / part) for part in parts):
        return base
    copy = clusters_dir() / "programs" / content_key([[str(base / p), (base / p).stat().st_mtime_ns] for p in parts])
    if not copy.exists():
        partial = copy.with_name(f".{copy.name}.{os.getpid()}")
        for part in parts:
            source, target = base / part, partial / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy2(source, target)
        with contextlib.suppress(OSError):
            partial.rename(copy)
    return copy


@dataclass(slots=True)
class Server:
    """A running server. `socket_dir` is a connection's host; `cold` says that the cluster was built now."""

    binaries: Binaries
    data: Path
    socket_dir: Path
    process: subprocess.Popen[bytes]
    cold: bool = False
    start_s: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def conninfo(self, database: str, user: str = ADMIN) -> str:
        return f"host={self.socket_dir} user={user} dbname={database} connect_timeout=10"


@contextlib.contextmanager
def running_server(
    binaries: Binaries, folder: Path, environment: Mapping[str, str], fill: Callable[[Server], None]
) -> Iterator[Server]:
    """A server on a cluster of `folder`, which `fill` has filled, stopped at the end.

    Raises InfrastructureError with the server's own words.
    """
    began = time.monotonic()
    account = Account.ours()
    folder.mkdir(exist_ok=True)
    with _slot(folder) as name:
        data = folder / name
        marker, built = folder / f"{name}.in-use", folder / f"{name}.built"
        cold = marker.exists() or not built.exists()
        marker.touch()
        if cold:
            built.unlink(missing_ok=True)
            _initialise(binaries, data, account)
        server = None
        try:
            with _started(binaries, data, environment, account) as server:
                if cold:
                    fill(server)
                    built.touch()
                server.cold, server.start_s = cold, time.monotonic() - began
                yield server
        finally:
            if server is not None and server.process.returncode == 0 and built.exists():
                marker.unlink()


@contextlib.contextmanager
def _slot(folder: Path) -> Iterator[str]:
    """The first cluster of the folder that no other process uses, by name, locked."""
    for name in map(str, range(SLOTS)):
        with open(folder / f"{name}.lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            os.utime(folder)
            yield name
            return
    raise InfrastructureError(f"{SLOTS} runs use the databases of {folder} already; wait for one to end")


def _initialise(binaries: Binaries, data: Path, account: Account) -> None:
    """A new, empty cluster in place of whatever is there."""
    if (data / "postmaster.pid").exists():  # its owner died without stopping it
        stop = [binaries.program("pg_ctl"), "stop", "-D", str(data), "-m", "immediate"]
        subprocess.run(stop, capture_output=True, check=False, timeout=60, cwd="/", **account.options)
    shutil.rmtree(data, ignore_errors=True)
    _prune(data.parent)
    data.mkdir(mode=0o700)
    if account.lowered:
        os.chown(data, account.uid, account.gid)
    command = [binaries.program("initdb"), "-D", str(data), "-U", ADMIN, "-A", "trust", "-E", "UTF8"]
    command += ["--locale=C", "--no-sync", "--no-instructions"]
    made = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=_ENVIRONMENT, **account.options
    )
    if made.returncode:
        raise InfrastructureError(f"initdb of PostgreSQL {binaries.version} failed: {_last(made.stderr)}")


def _prune(keep: Path) -> None:
    """Removes the oldest clusters that nobody uses."""
    siblings = [path for path in keep.parent.iterdir() if path.is_dir() and path.name != "programs"]
    siblings.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in siblings[KEPT_CLUSTERS:]:
        if folder != keep and not any(folder.glob("*.in-use")):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _started(binaries: Binaries, data: Path, environment: Mapping[str, str], account: Account) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        socket_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codecard-pg-")))
        log = stack.enter_context(tempfile.TemporaryFile())
        if account.lowered:
            os.chown(socket_dir, account.uid, account.gid)
        # the shell sets the memory cap and becomes the server; where it has no such cap (macOS) there is none
        command = ["/bin/sh", "-c", f'ulimit -v {MEMORY_BYTES // 1024} 2>/dev/null; exec "$@"', "sh"]
        command += [binaries.program("postgres"), "-D", str(data), "-k", str(socket_dir)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**_ENVIRONMENT, **environment},
            start_new_session=True,
            **account.options,
        )
        stack.callback(_stop, process)
        # a second process reads from us and stops the server when we are gone, however we went
        command = ["/bin/sh", "-c", 'cat > /dev/null; kill -INT "$0"', str(process.pid)]
        watcher = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **account.options)
        )
        stack.callback(watcher.kill)
        server = Server(binaries, data, socket_dir, process)
        _wait_ready(server, log)
        yield server


def _wait_ready(server: Server, log: IO[bytes]) -> None:
    """Until the server says it is ready (its pid file's eighth line), at most 60 seconds."""
    deadline = time.monotonic() + 60
    pid_file = server.data / "postmaster.pid"
    while time.monotonic() < deadline and server.alive:
        with contextlib.suppress(OSError):
            lines = pid_file.read_text("utf-8", "replace").splitlines()
            if len(lines) >= 8 and lines[0] == str(server.process.pid) and lines[7].strip() == "ready":
                return
        time.sleep(0.005)
    log.seek(0)
    said = _last(log.read().decode("utf-8", "replace"))
    raise InfrastructureError(f"PostgreSQL {server.binaries.version} did not start: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The server's fast shutdown, then less and less polite."""
    for sign, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
