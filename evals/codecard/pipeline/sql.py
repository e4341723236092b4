"""The SQL suite: questions asked, the query taken from each answer, judged on a real PostgreSQL."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from codecard.generate import GenerationRequest, Message
from codecard.model import Completion, InfrastructureError, Problem, PromptStyle, Sampling, UsageError, content_key
from codecard.pipeline.evaluator import Asking, Row, Work
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.data import data_folder
from codecard.store.importers import Imported
from codecard.tasks.sql import (
    SqlDefinition,
    SqlProtocol,
    completions_from_results,
    definition,
    definitions,
    extract_sql,
    load,
)

if TYPE_CHECKING:
    from codecard.sql.database import Database, SqlOutcome

SUITE = "sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlPlan:
    """What is asked for. `versions`: more than one only where completions of several are scored together."""

    protocol: SqlProtocol
    versions: tuple[str, ...] = ()
    options: DatabaseOptions = field(default_factory=DatabaseOptions)
    data_dir: Path | None = None
    limit: int | None = None

    @property
    def definitions(self) -> list[SqlDefinition]:
        return [definition(name) for name in self.versions or (self.protocol.version,)]


def greedy(protocol: SqlProtocol, asking: Asking, max_new_tokens: int | None) -> Asking:
    """The suite is asked greedily, whatever the profile's other suites do."""
    sampling = Sampling(max_new_tokens=max_new_tokens or protocol.max_new_tokens)
    return replace(asking, sampling=sampling)


def load_questions(plan: SqlPlan) -> dict[str, list[Problem]]:
    """The problems of each version of the plan; starts no server."""
    return {
        version.name: load(
            version,
            data_folder(version, plan.data_dir),
            prompt=plan.protocol.prompt,
            limit=plan.limit,
            num_columns=plan.protocol.num_columns,
        )
        for version in plan.definitions
    }


class SqlEvaluator:
    """Judges queries on the databases of one version or several; every gold is checked when it is opened."""

    suite = SUITE

    def __init__(self, plan: SqlPlan) -> None:
        self.plan = plan
        self.skipped: dict[str, str] = {}
        self._questions = load_questions(plan)
        self.counts: dict[str, int] = dict(Counter(p.task for p in self.problems()))
        if plan.limit is not None:
            self.counts = {d.categories[name]: n for d in plan.definitions for name, n in d.counts.items()}
        self._version = {p.id: name for name, problems in self._questions.items() for p in problems}
        self._databases: dict[str, Database] = {}
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            for version in plan.definitions:
                database = stack.enter_context(open_database(version, plan.options, data_dir=plan.data_dir))
                self._databases[version.name] = database
                self._check_golds(version, database)
            self._stack = stack.pop_all()

    def _check_golds(self, version: SqlDefinition, database: Database) -> None:
        """No run begins on golds that do not pass themselves: every verdict would be worth nothing."""
        report = database.check_golds(self._questions[version.name])
        if report.failed:
            problem, why = next(iter(report.failed.items()))
            raise InfrastructureError(f"{len(report.failed)} gold queries fail, the first is {problem}: {why}")
        database.facts |= {"golds": report.queries, "known_bad": report.known_bad, "tied": report.tied}

    def problems(self) -> list[Problem]:
        return [problem for problems in self._questions.values() for problem in problems]

    def describe(self) -> Row:
        asked = asdict(self.plan.protocol)
        return {
            "data": {
                f"{SUITE}/{name}": content_key([problem.key for problem in problems])
                for name, problems in self._questions.items()
            },
            SUITE: {"protocol": asked, "databases": {name: db.facts for name, db in self._databases.items()}},
        }

    def request(self, problem: Problem, sample: int, asking: Asking) -> GenerationRequest:
        chat = asking.style is PromptStyle.CHAT
        return GenerationRequest(
            task=problem.task,
            problem=problem.id,
            sample=sample,
            prompt=(Message(role="user", content=problem.prompt),) if chat else problem.prompt,
            # what follows the first semicolon is cut away in any case
            stops=() if chat else (";",),
            sampling=asking.sampling,
            seed=asking.seed,
        )

    def key(self, work: Work) -> str:
        facts = self._databases[self._version[work.problem.id]].facts
        ground = [facts[name] for name in ("postgres", "as_of", "clock", "data")]
        options = self.plan.options
        judged = [self.plan.protocol.comparer, options.robust, options.timeout_s]
        return content_key([_query(work), work.problem.checker, ground, judged])

    def evaluate(self, work: Iterable[Work]) -> Iterator[Row]:
        workers = self.plan.options.workers
        with ThreadPoolExecutor(workers) as pool:
            pending: set[Future[Row]] = set()
            for item in work:
                pending.add(pool.submit(self._row, item))
                ended, pending = wait(pending, 0 if len(pending) < 4 * workers else None, FIRST_COMPLETED)
                yield from (future.result() for future in ended)
            for future in pending:
                yield future.result()

    def _row(self, work: Work) -> Row:
        sql = _query(work)
        database = self._databases[self._version[work.problem.id]]
        return _row(work, sql, database.judge(work.problem, sql), self.plan) | {"key": self.key(work)}

    def close(self) -> None:
        self._stack.close()


def _query(work: Work) -> str:
    return work.source if work.source is not None else extract_sql(work.completion.text, work.completion.style)


def _row(work: Work, sql: str, outcome: SqlOutcome, plan: SqlPlan) -> Row:
    comparer = plan.protocol.comparer
    verdict = outcome.verdict(comparer)
    row: Row = {
        "task": work.problem.task,
        "problem": work.problem.id,
        "sample": work.completion.sample,
        "verdict": verdict.value,
        "passed": None if outcome.void else outcome.passed(comparer),
        "void": outcome.reason if outcome.void else "",
        "reference_passed": outcome.reference_passed,
        "strict_passed": outcome.strict_passed,
        "outcome": outcome.outcome.value,
        "reason": outcome.reason,
        "reference_error": outcome.reference_error,
        "sqlstate": outcome.sqlstate,
        "row_count": outcome.row_count,
        "known_bad": any(work.problem.id in version.known_bad for version in plan.definitions),
        "stage": "run",
        "wall_s": outcome.seconds,
        "stdout": "",
        "stderr": "" if outcome.passed(comparer) else outcome.reason,
        "program": sql,
    }
    if plan.options.robust:
        row["robust_passed"] = outcome.robust_passed
    return row | ({"id": work.label} if work.label else {})


# ---------------------------------------------------------------- completions made elsewhere


def versions_of(rows: Iterable[Imported], otherwise: str) -> tuple[str, ...]:
    """The versions whose question sets the rows name; `otherwise` where they name none."""
    named = {row.problem.split("/")[0] for row in rows}
    found = tuple(name for name in definitions() if named & {q.name for q in definition(name).questions})
    return found or (otherwise,)


def with_tasks(rows: Iterable[Imported], problems: Sequence[Problem]) -> list[Imported]:
    """Rows under their problem's own task: the id names the question, a file may name its category otherwise.

    Raises UsageError for a question that does not exist.
    """
    tasks = {problem.id: problem.task for problem in problems}
    found = []
    for row in rows:
        if row.problem not in tasks:
            raise UsageError(f"{row.where}: no question {row.problem!r} with a gold query")
        found.append(replace(row, task=tasks[row.problem]))
    return found


def read_result_file(path: Path, plan: SqlPlan) -> tuple[str, list[Completion]]:
    """(version, completions) of a result file of sql-eval: the first version that has all its questions."""
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    refusal: UsageError | None = None
    for name in plan.versions or definitions():
        problems = load_questions(replace(plan, versions=(name,)))[name]
        try:
            return name, completions_from_results(content, problems, str(path))
        except UsageError as error:
            refusal = refusal or error
    raise refusal or UsageError(f"{path}: no completions")
