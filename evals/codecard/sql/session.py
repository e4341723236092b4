"""One query at a time, on one connection of the judged role: what comes back is rows or a reason.

Each query runs as `DECLARE … NO SCROLL CURSOR FOR <query>` over the extended protocol inside a read-only
transaction that is rolled back: the grammar allows one SELECT there and nothing else, so no statement can end
the transaction, lift the timeout, or leave anything behind. Rows are fetched one by one under a cap of rows
and bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import errors

from codecard.model import UsageError
from codecard.sql.rows import Rows

MAX_QUERY_BYTES = 100_000
GRACE_S = 3.0
"""Seconds after the server's own timeout at which the client gives up on it."""


class Outcome(StrEnum):
    """What became of a query. `void` is our failure; all others are the query's."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    """Not one SELECT statement."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    """Memory or temporary disk beyond its cap."""
    TOO_LARGE = "too_large"
    """More rows or bytes than the cap."""
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Caps:
    rows: int = 10_000
    bytes: int = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Result:
    """`rows` only where `outcome` is ok; else `sqlstate` (may be empty) and one line of why."""

    outcome: Outcome
    rows: Rows | None = None
    sqlstate: str = ""
    message: str = ""


class ConnectionLost(Exception):
    """The server or the way to it failed while a query ran; what the query is worth is not known."""


_TOO_MUCH = (errors.OutOfMemory, errors.ConfigurationLimitExceeded)
_REFUSED = (errors.SyntaxError, errors.FeatureNotSupported, errors.InvalidCursorDefinition)
_OURS = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.DiskFull,
    errors.IoError,
)


class Session:
    """A connection to one database, with the server's own timeout set on it. Not for two threads at once."""

    def __init__(self, conninfo: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.deadline: float | None = None
        self.expired = False
        try:
            options = f"-c statement_timeout={round(timeout_s * 1000)}"
            self._connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None, options=options)
        except psycopg.Error as error:
            raise ConnectionLost(one_line(error)) from None
        self.pid = self._connection.info.backend_pid

    @property
    def reusable(self) -> bool:
        """Whether the next query would start on clean ground. Our check, not the server's word: no query of one
        answer may be judged in what another left behind."""
        idle = psycopg.pq.TransactionStatus.IDLE
        return not self._connection.closed and self._connection.info.transaction_status == idle

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def run(self, sql: str, caps: Caps) -> Result:
        """The query's rows, or why there are none. Raises ConnectionLost."""
        if refusal := _unfit(sql):
            return refusal
        self.expired = False
        self.deadline = time.monotonic() + self._timeout_s + GRACE_S
        try:
            return self._run(sql.encode(), caps)
        except psycopg.Error as error:
            return self._failure(error)
        except (ValueError, ArithmeticError, RecursionError) as error:  # a value that Python has no room for
            return Result(Outcome.ERROR, message=f"a result that cannot be read: {one_line(error)}")
        finally:
            self.deadline = None

    def _run(self, sql: bytes, caps: Caps) -> Result:
        connection = self._connection
        with connection.cursor() as cursor:
            cursor.execute("BEGIN READ ONLY")
            try:
                # binary asks for the extended protocol, which takes a single statement
                cursor.execute(b"DECLARE answer NO SCROLL CURSOR FOR " + sql, binary=True)
                return self._fetch(caps)
            finally:
                # it may fail too, out of memory for one; then `reusable` says so
                with contextlib.suppress(psycopg.Error):
                    cursor.execute("ROLLBACK")

    def _fetch(self, caps: Caps) -> Result:
        rows: list[tuple[object, ...]] = []
        size = 0
        with self._connection.cursor() as cursor:
            for row in cursor.stream(f"FETCH FORWARD {caps.rows + 1} FROM answer".encode()):
                size += sum(map(_size, row))
                rows.append(row)
                if size > caps.bytes or len(rows) > caps.rows:
                    why = f"more than {caps.rows} rows or {caps.bytes} bytes"
                    return Result(Outcome.TOO_LARGE, message=why)
            names = tuple(column.name for column in cursor.description or ())
        return Result(Outcome.OK, Rows(names, tuple(rows)))

    def _failure(self, error: psycopg.Error) -> Result:
        if self._connection.closed or self._connection.broken or isinstance(error, _OURS):
            self.close()
            raise ConnectionLost(one_line(error)) from None
        outcome = Outcome.ERROR
        if isinstance(error, errors.QueryCanceled):
            outcome = Outcome.TIMEOUT
        elif isinstance(error, _TOO_MUCH):
            outcome = Outcome.MEMORY
        elif isinstance(error, _REFUSED):
            outcome = Outcome.REFUSED
        return Result(outcome, sqlstate=error.sqlstate or "", message=one_line(error))

    def break_off(self) -> None:
        """Called by another thread: the query in flight ends in ConnectionLost."""
        self.expired = True
        with contextlib.suppress(OSError, psycopg.Error):
            doomed = socket.socket(fileno=os.dup(self._connection.fileno()))
            try:
                doomed.shutdown(socket.SHUT_RDWR)
            finally:
                doomed.close()


def _unfit(sql: str) -> Result | None:
    """Text that cannot be sent: the wire ends a query at its first NUL."""
    if not sql.strip():
        return Result(Outcome.REFUSED, message="no query")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        return Result(Outcome.REFUSED, message="not a text that UTF-8 can hold")
    if "\0" in sql:
        return Result(Outcome.REFUSED, message="a NUL character in the query")
    if size > MAX_QUERY_BYTES:
        return Result(Outcome.REFUSED, message=f"longer than {MAX_QUERY_BYTES} bytes")
    return None


def _size(cell: object) -> int:
    if isinstance(cell, str | bytes):
        return len(cell)
    return sum(map(_size, cell)) if isinstance(cell, list) else 16


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


class Watchdog:
    """Breaks off queries that outlive the server's own timeout; `kill` then ends their backends."""

    def __init__(self, kill: Callable[[int], None]) -> None:
        self._kill = kill
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="codecard-sql-watchdog")
        self._thread.start()

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)

    def remove(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            with self._lock:
                sessions = list(self._sessions)
            for session in sessions:
                deadline = session.deadline
                if deadline is not None and time.monotonic() > deadline and not session.expired:
                    session.break_off()
                    self._kill(session.pid)


def check_server(conninfo: str, oldest: int) -> tuple[str, bool]:
    """(version, superuser) of a server we were given. Raises UsageError: unreachable, or too old."""
    try:
        with psycopg.connect(conninfo, connect_timeout=10, autocommit=True) as connection:
            number = connection.info.server_version
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    except psycopg.Error as error:
        raise UsageError(f"--database-url: {one_line(error)}") from None
    version = f"{number // 10000}.{number % 10000}"
    if number // 10000 < oldest:
        raise UsageError(f"--database-url: PostgreSQL {version} is too old; {oldest} or newer is needed")
    return version, bool(row and row[0])
