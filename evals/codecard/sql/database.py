"""The port: a Database judges SQL against gold; open one with `codecard.sql.open_database`."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import psycopg

from codecard.model import GoldSql, InfrastructureError, Problem, UsageError, Verdict
from codecard.sql import DatabaseOptions
from codecard.sql import reference as by_reference
from codecard.sql import strict as by_strict
from codecard.sql.build import content_hash
from codecard.sql.gold_cache import GoldCache, GoldResult
from codecard.sql.rows import Rows
from codecard.sql.session import Caps, ConnectionLost, Outcome, Result, Session, Watchdog

IDLE_SESSIONS = 60
"""Connections kept open over all databases; the server allows 100."""

ATTEMPTS = 3
"""Times a query is run that loses its connection: another query may have crashed the server, twice at that."""

RECOVERY_S = 5.0
"""Seconds to wait for a server that another query has brought down to come back by itself."""

_HEAVY = (Outcome.TIMEOUT, Outcome.MEMORY, Outcome.TOO_LARGE)
"""After these a connection is given up: its server process may have grown."""

_VERDICTS = {
    Outcome.ERROR: Verdict.RUNTIME_ERROR,
    Outcome.REFUSED: Verdict.BUILD_ERROR,
    Outcome.TIMEOUT: Verdict.TIMEOUT,
    Outcome.MEMORY: Verdict.MEMORY,
    Outcome.TOO_LARGE: Verdict.OUTPUT_LIMIT,
    Outcome.VOID: Verdict.SANDBOX_ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOutcome:
    """What one query is worth under each comparer; None where that is not known (`outcome` is void).

    `robust_passed` is None too where the perturbed copies were not asked for. `reason` is one line: why it is
    void or failed, or what the strict comparer misses.
    """

    outcome: Outcome
    reference_passed: bool | None
    strict_passed: bool | None
    robust_passed: bool | None = None
    reason: str = ""
    sqlstate: str = ""
    reference_error: str = ""
    row_count: int | None = None
    seconds: float = 0.0

    @property
    def void(self) -> bool:
        return self.outcome is Outcome.VOID

    def passed(self, comparer: str) -> bool | None:
        """By the comparer of a profile: `reference`, `strict` or `robust`."""
        values = {"reference": self.reference_passed, "strict": self.strict_passed, "robust": self.robust_passed}
        return values[comparer]

    def verdict(self, comparer: str) -> Verdict:
        if self.outcome is not Outcome.OK:
            return _VERDICTS[self.outcome]
        return Verdict.PASSED if self.passed(comparer) else Verdict.WRONG


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldReport:
    """Of all golds: how many, which are wrong against themselves and why, and what is odd about the others.

    `known_bad`: every gold finds only NULL or nothing. `tied`: the LIMIT cuts through ties.
    """

    questions: int
    queries: int
    failed: Mapping[str, str]
    known_bad: tuple[str, ...]
    tied: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """How the server came to run: `pid` 0 where it was there already. `cold`: its databases were built now."""

    server: str = "url"
    pid: int = 0
    cold: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class Access:
    """How a Database reaches its server: `judge` and `admin` give a connection string for a database's name."""

    databases: Sequence[str]
    judge: Callable[[str], str]
    admin: Callable[[str], str]
    alive: Callable[[], bool]
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The perturbed copies of each database, if they were asked for."""
    rewrite: Callable[[str], str] | None = None
    """Applied to every query: the frozen clock where the server cannot be made to keep it."""


class Database:
    """Judges queries, from any number of threads, up to `workers` at a time."""

    def __init__(self, access: Access, options: DatabaseOptions, facts: Mapping[str, str], golds: GoldCache) -> None:
        self.facts = facts
        """All that a verdict depends on besides the query: the same facts, the same verdicts."""
        self.started = Started()
        self.workers = options.workers
        self._timeout_s = options.timeout_s
        self._access = access
        self._names = {*access.databases, *itertools.chain.from_iterable(access.copies.values())}
        self._golds = golds
        self._idle: dict[str, list[Session]] = {}
        self._open = 0
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(self.workers)
        self._watchdog = Watchdog(self._kill)

    def close(self) -> None:
        self._watchdog.stop()
        self._drop_idle()
        self._golds.save()

    # ------------------------------------------------------------ judging

    def judge(self, problem: Problem, sql: str) -> SqlOutcome:
        """What `sql` (one query, as `extract_sql` gives it) is worth as an answer to `problem`.

        Raises InfrastructureError where a gold of ours cannot be run, which is no verdict on the query.
        """
        gold = _gold_of(problem)
        began = time.monotonic()
        try:
            outcome = self._judge(gold, sql)
        except ConnectionLost as lost:
            outcome = SqlOutcome(
                outcome=Outcome.VOID, reference_passed=None, strict_passed=None, reason=f"database: {lost}"
            )
        return replace(outcome, seconds=time.monotonic() - began)

    def judge_many(self, pairs: Iterable[tuple[Problem, str]]) -> list[SqlOutcome]:
        """`judge` over a pool of `workers` threads; results in the order of `pairs`."""
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda pair: self.judge(*pair), pairs))

    def _judge(self, gold: GoldSql, sql: str) -> SqlOutcome:
        golds = [self._gold(gold.database, query) for query in gold.queries]
        caps = Caps(rows=max(10_000, 2 * max(len(found.rows.rows) for found in golds)))
        result = self._run(gold.database, sql, caps)
        if result.rows is None:
            return SqlOutcome(
                outcome=result.outcome,
                reference_passed=False,
                strict_passed=False,
                robust_passed=False if self._access.copies else None,
                reason=result.message,
                sqlstate=result.sqlstate,
            )
        reference = self._reference(gold, golds, sql, result.rows, caps)
        accepted = [option for found in golds for option in found.accepted]
        strict = by_strict.compare(accepted, result.rows, gold.ordered)
        robust, why = self._robust(gold, sql) if strict.passed else (False, "")
        return SqlOutcome(
            outcome=Outcome.OK,
            reference_passed=reference.passed,
            strict_passed=strict.passed,
            robust_passed=robust if self._access.copies else None,
            reason=strict.why or why,
            reference_error=reference.error or "",
            row_count=len(result.rows.rows),
        )

    def _reference(
        self, gold: GoldSql, golds: Sequence[GoldResult], sql: str, rows: Rows, caps: Caps
    ) -> by_reference.ReferenceVerdict:
        """The reference's verdict; its driver reads per cent signs in its own way."""
        sent = by_reference.driver_text(sql)
        if sent is None:
            return by_reference.ReferenceVerdict(False, False, "TypeError")
        found = rows if sent == sql else self._run(gold.database, sent, caps).rows
        if found is None:
            return by_reference.ReferenceVerdict(False, False, "DatabaseError")
        return by_reference.compare(gold, [known.rows for known in golds], sql, found)

    def _robust(self, gold: GoldSql, sql: str) -> tuple[bool, str]:
        """Whether the query is right on every perturbed copy as well; a copy on which no gold runs says nothing."""
        for at, copy in enumerate(self._access.copies.get(gold.database, ()), start=1):
            golds = []
            for query in gold.queries:
                # a gold may divide by a number that the perturbation has made zero
                with contextlib.suppress(InfrastructureError):
                    golds.append(self._gold(copy, query))
            if not golds:
                continue
            result = self._run(copy, sql, Caps())
            accepted = [option for found in golds for option in found.accepted]
            if result.rows is None:
                return False, f"on perturbed copy {at}: {result.message}"
            verdict = by_strict.compare(accepted, result.rows, gold.ordered)
            if not verdict.passed:
                return False, f"on perturbed copy {at}: {verdict.why}"
        return True, ""

    # ------------------------------------------------------------ golds

    def _gold(self, database: str, query: str) -> GoldResult:
        def run(sql: str) -> Rows:
            result = self._run(database, sql, Caps(rows=1_000_000, bytes=256 * 1024**2))
            if result.rows is None:
                raise InfrastructureError(f"gold query on {database} failed: {result.message}: {query[:80]}")
            return result.rows

        def find() -> GoldResult:
            from codecard.sql.gold import gold_result  # loads sqlglot, which stored golds do without

            return gold_result(query, run)

        return self._golds.get(database, query, find)

    def check_golds(self, problems: Iterable[Problem]) -> GoldReport:
        """Judges every alternative of every gold against its own question, under both comparers."""
        golds = {problem.id: _gold_of(problem) for problem in problems}
        with ThreadPoolExecutor(self.workers) as pool:
            found = dict(zip(golds, pool.map(self._check_gold, golds.values()), strict=True))
        return GoldReport(
            questions=len(golds),
            queries=sum(len(gold.queries) for gold in golds.values()),
            failed={problem: failure for problem, (failure, _, _) in found.items() if failure},
            known_bad=tuple(problem for problem, (_, empty, _) in found.items() if empty),
            tied=tuple(problem for problem, (_, _, tied) in found.items() if tied),
        )

    def _check_gold(self, gold: GoldSql) -> tuple[str, bool, bool]:
        """(failure or "", every gold finds only NULL or nothing, a LIMIT cuts through ties)."""
        failure, empty, tied = "", True, False
        for query in gold.queries:
            try:
                found = self._gold(gold.database, query)
            except (InfrastructureError, ConnectionLost) as error:
                return str(error), False, False
            empty, tied = empty and found.rows.only_nulls, tied or found.tied
            reference = by_reference.compare(gold, [found.rows], query, found.rows)
            strict = by_strict.compare(found.accepted, found.rows, gold.ordered)
            if by_reference.driver_text(query) is None or not (reference.passed and strict.passed):
                failure = failure or f"gold is wrong against itself: {strict.why or reference.error}: {query[:80]}"
        return failure, empty, tied

    # ------------------------------------------------------------ the content

    def content_hashes(self) -> dict[str, str]:
        """Hash of all rows of each database: a run leaves them as they were."""
        return {name: content_hash(self._access.admin(name)) for name in self._access.databases}

    # ------------------------------------------------------------ connections

    def _run(self, database: str, sql: str, caps: Caps) -> Result:
        """One query on a session of its own, tried again where the connection is lost.

        Raises ConnectionLost where that fails too.
        """
        if database not in self._names:
            raise UsageError(f"unknown database {database!r}; there are {', '.join(self._access.databases)}")
        if self._access.rewrite:
            sql = self._access.rewrite(sql)
        with self._turn:
            for _ in range(ATTEMPTS - 1):
                try:
                    return self._attempt(database, sql, caps)
                except ConnectionLost:
                    self._drop_idle()
                    self._await_recovery(database)
            return self._attempt(database, sql, caps)

    def _attempt(self, database: str, sql: str, caps: Caps) -> Result:
        session = self._lease(database)
        self._watchdog.add(session)
        kept = False
        try:
            result = session.run(sql, caps)
            kept = session.reusable and result.outcome not in _HEAVY
            return result
        except ConnectionLost:
            if session.expired and self._access.alive() and self._answers(database):
                return Result(Outcome.TIMEOUT, message="ran past the statement timeout and was ended")
            raise
        finally:
            self._watchdog.remove(session)
            if kept:
                with self._lock:
                    self._idle.setdefault(database, []).append(session)
            else:
                self._forget()
                session.close()

    def _lease(self, database: str) -> Session:
        spare: Session | None = None
        with self._lock:
            if idle := self._idle.get(database):
                return idle.pop()
            if self._open >= IDLE_SESSIONS:
                spare = next((idle.pop() for idle in self._idle.values() if idle), None)
            self._open += spare is None
        if spare:
            spare.close()
        try:
            return Session(self._access.judge(database), self._timeout_s)
        except ConnectionLost:
            self._forget()
            raise

    def _drop_idle(self) -> None:
        """Where one connection was lost the others are worth nothing either."""
        with self._lock:
            sessions = [session for idle in self._idle.values() for session in idle]
            self._idle.clear()
            self._open -= len(sessions)
        for session in sessions:
            session.close()

    def _forget(self) -> None:
        with self._lock:
            self._open -= 1

    def _await_recovery(self, database: str) -> None:
        """Returns when the server answers again, at the latest after `RECOVERY_S`."""
        deadline = time.monotonic() + RECOVERY_S
        while self._access.alive() and time.monotonic() < deadline and not self._answers(database):
            time.sleep(0.1)

    def _answers(self, database: str) -> bool:
        try:
            Session(self._access.judge(database), self._timeout_s).close()
        except ConnectionLost:
            return False
        return True

    def _kill(self, pid: int) -> None:
        server = self._access.admin("postgres")
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(server, autocommit=True, connect_timeout=5) as connection,
        ):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


def _gold_of(problem: Problem) -> GoldSql:
    if not isinstance(problem.checker, GoldSql):
        raise UsageError(f"{problem.id}: not a question with gold SQL")
    return problem.checker
