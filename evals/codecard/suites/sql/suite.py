"""The SQL suite: questions asked, the query taken from each answer, judged on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codecard.answers.sql import extract_sql
from codecard.files import Row, read_bytes
from codecard.generate.port import GenerationRequest, Message
from codecard.model import (
    Asking,
    Completion,
    Estimate,
    Estimates,
    GoldSql,
    InfrastructureError,
    Outcome,
    Problem,
    PromptStyle,
    SampleId,
    Sampling,
    Score,
    Unit,
    UsageError,
    Void,
    content_key,
)
from codecard.settings import Options, option
from codecard.sql import DatabaseOptions, open_database, parse_day
from codecard.sql.definition import SqlDefinition, data_folder, definition, definitions, load
from codecard.stats import summarise, wilson
from codecard.suites.importing import Imported, match, read_completion_file
from codecard.suites.suite import Facts, Lengths, Session, Setting, Suite, Work, request_of

if TYPE_CHECKING:
    from codecard.sql.database import Database

COMPARERS = ("reference", "strict", "robust")
TITLES = {
    "sql/date": "Date",
    "sql/group_by": "Group By",
    "sql/order_by": "Order By",
    "sql/ratio": "Ratio",
    "sql/join": "Join",
    "sql/where": "Where",
}
"""The card's columns."""
LISTED = 20
"""Questions named in a remark before it says how many more there are."""


class SqlOptions(Options):
    version: str = option("2024-03", about="version of sql-eval", role="asking", old="--sql-version")
    prompt: str | None = option(
        None, about="generic, tags or chat; default: the form asked for", role="asking", old="--sql-prompt"
    )
    num_columns: int | None = option(
        None, about="columns that the schema is pruned to", role="asking", ge=1, old="--num-columns"
    )
    max_new_tokens: int = option(300, about="tokens of a query", role="asking", ge=1)
    comparer: Literal["reference", "strict"] = option("strict", about="whose verdict counts", step="comparer")
    as_of: str | None = option(None, about="the frozen date, YYYY-MM-DD; default: the version's", old="--as-of")
    robust: bool = option(False, about="judge on three perturbed copies as well", old="--robust")
    timeout_s: float = option(10.0, about="seconds a query may run", step="limits", ge=0.1)
    database_url: str | None = option(None, about="URL of an existing server", role="free", flag="--database-url")


class SqlSuite(Suite):
    name = kind = "sql"
    title = "SQL by category"
    summary = "questions by category, on a real PostgreSQL"
    options = SqlOptions
    sampled = False
    unit = Unit(scale=100, digits=1, sign="%")
    counts = "questions"
    average = "All"
    hashed_as_limited = True

    def tasks(self) -> dict[str, str]:
        return dict(TITLES)

    def asking(self, setting: Setting, options: SqlOptions) -> Asking:
        """Greedy, one sample a question, whatever the other suites of a run do."""
        form = definition(options.version).prompts.get(options.prompt or "")
        embedded = setting.model is not None and setting.model.embedded
        style = setting.asked.prompt_style or (PromptStyle.CHAT if embedded else PromptStyle.RAW)
        if form is not None and form.style is PromptStyle.CHAT:
            style = PromptStyle.CHAT
        sampling = Sampling(max_new_tokens=setting.asked.max_new_tokens or options.max_new_tokens)
        return Asking(style=style, sampling=sampling, seed=setting.asked.seed or 0)

    def open(self, setting: Setting, options: SqlOptions, files: Sequence[Path] = ()) -> SqlSession:
        return SqlSession(self, setting, options, files)

    def lengths(self, options: SqlOptions) -> Lengths:
        version = definition(options.version)
        questions = {version.categories[name]: count for name, count in version.counts.items()}
        return Lengths(
            questions=questions, prompt_tokens=dict.fromkeys(questions, 900), new_tokens=60, seconds=0.05,
            max_new_tokens=options.max_new_tokens,
        )  # fmt: skip

    def summarise(self, scores: Sequence[Score], outcomes: Mapping[SampleId, Outcome], facts: Row) -> Estimates:
        """pass@1 by the comparer that counts, and correct of questions under each comparer."""
        found = summarise(scores)
        tasks: dict[str, list[Score]] = {}
        for score in scores:
            tasks.setdefault(score.task, []).append(score)
        groups = tasks | ({f"{self.name}/average": list(scores)} if f"{self.name}/average" in found else {})
        for comparer in COMPARERS:
            field = f"{comparer}_passed"
            if any(field in outcome.facts for outcome in outcomes.values()):
                for task, members in groups.items():
                    values = [outcomes[s].facts.get(field) if s in outcomes else None for s in map(_id, members)]
                    found[task][comparer] = _share(values)
        return found

    def metrics(self, estimates: Estimates) -> list[tuple[str, str]]:
        names = {name for found in estimates.values() for name in found}
        return [(name, name) for name in COMPARERS if name in names] or super().metrics(estimates)

    def remarks(self, facts: Row) -> list[str]:
        """On what the numbers stand: version, server, date, and whose verdict the profile counts."""
        return [
            f"sql-eval {name}, PostgreSQL {found['postgres']}, as of {found['as_of']} ({found['clock']}); "
            f"this profile counts the verdicts of `{facts.get('comparer')}`"
            for name, found in (facts.get("databases") or {}).items()
        ]

    def diagnose_database(self, url: str | None) -> list[Any]:
        from codecard.sql.doctor import diagnose

        return list(diagnose(definition(SqlOptions().version), DatabaseOptions(url=url)))

    def assumed(self, values: Mapping[str, Any]) -> Row:
        versions = {"2024-03-06": "2024-03", "head": "newest"}
        prompt = {"sqlcoder7b2": "tags"}.get(str(values["sql_prompt"]), values["sql_prompt"])
        own = {"version": versions[str(values["sql_version"])], "prompt": prompt}
        own |= {name: values[name] for name in ("num_columns", "as_of") if values[name] is not None}
        return {"prompt_style": "raw", "dtype": values["dtype"], "set": {self.name: own}}

    def old_facts(self, manifest: Row) -> Row:
        own = manifest.get(self.name) or {}
        protocol, databases = dict(own.get("protocol") or {}), own.get("databases") or {}
        asked = {name: protocol[name] for name in ("version", "max_new_tokens", "num_columns") if protocol.get(name)}
        ground = ("version", "postgres", "as_of", "clock", "data")
        kept = {name: {k: v for k, v in facts.items() if k in ground} for name, facts in databases.items()}
        judged = {"comparer": protocol["comparer"]} if "comparer" in protocol else {}
        return {"judging": judged, "asking": asked, "comparable": {"databases": kept}} if own else {}

    def outcome_remarks(self, outcomes: Iterable[Outcome], facts: Row) -> list[str]:
        """Where the comparers differ, and golds that prove nothing."""
        rows = [outcome for outcome in outcomes if "strict_passed" in outcome.facts]
        verdicts = [(o, o.facts.get("reference_passed"), o.facts["strict_passed"]) for o in rows if not o.void]
        kinder = [outcome for outcome, reference, strict in verdicts if reference and not strict]
        harsher = [outcome for outcome, reference, strict in verdicts if strict and not reference]
        lines = []
        for found, what in ((kinder, "passed by reference alone"), (harsher, "passed by strict alone")):
            if found:
                lines.append(f"{what}: {_listed(found)}")
        if bad := [o for o in rows if o.facts.get("known_bad")]:
            lines.append(f"gold finds only NULL (any query that finds nothing is right): {_listed(bad)}")
        return lines


def _id(score: Score) -> SampleId:
    return (score.task, score.problem, score.sample)


def _share(values: Sequence[bool | None]) -> Estimate:
    """Correct of the questions that have a verdict, with its Wilson interval; the card's number is the plain share."""
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(value=None, low=None, high=None, n=0, void=len(values), method="void: nothing was judged")
    low, high = wilson(sum(known) / len(known), len(known))
    void = len(values) - len(known)
    return Estimate(value=sum(known) / len(known), low=low, high=high, n=len(known), void=void, method="Wilson 95%")


def _listed(outcomes: Sequence[Outcome]) -> str:
    names = [outcome.problem for outcome in outcomes]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


class SqlSession(Session):
    """Judges queries on the databases of one version or several; every gold is checked when it is opened."""

    def __init__(self, suite: SqlSuite, setting: Setting, options: SqlOptions, files: Sequence[Path] = ()) -> None:
        super().__init__(suite, suite.asking(setting, options), options)
        self._prompt = options.prompt or ("chat" if self.asking.style is PromptStyle.CHAT else "generic")
        self._data_dir = setting.data_dir
        self._noted: dict[str, Row] = {}
        self.workers: int = setting.workers or 4
        read = [self._read(file, "version" in options.model_fields_set) for file in files]
        versions = list(dict.fromkeys(name for names, _ in read for name in names)) or [options.version]
        self._versions = [definition(name) for name in versions]
        self._questions = {version.name: self._load(version) for version in self._versions}
        self._version = {p.id: name for name, problems in self._questions.items() for p in problems}
        self._problems = [problem for problems in self._questions.values() for problem in problems]
        rows = [row for _, found in read for row in found]
        self._given = match(_with_tasks(rows, self._problems), self._problems)
        self._databases: dict[str, Database] = {}
        with contextlib.ExitStack() as stack:
            asked = DatabaseOptions(
                url=options.database_url,
                as_of=parse_day(options.as_of) if options.as_of else None,
                robust=options.robust,
                workers=self.workers,
                timeout_s=options.timeout_s,
            )
            for version in self._versions:
                database = stack.enter_context(open_database(version, asked, data_dir=self._data_dir))
                self._databases[version.name] = database
                self._check_golds(version, database)
            self._stack = stack.pop_all()

    def _load(self, version: SqlDefinition) -> list[Problem]:
        folder = data_folder(version, self._data_dir)
        return load(version, folder, prompt=self._prompt, num_columns=self.options.num_columns)

    def _read(self, file: Path, chosen: bool) -> tuple[list[str], list[Imported]]:
        """(versions, samples) of a file: those that its questions name, or the one that the user has chosen."""
        if file.suffix != ".csv":
            rows = read_completion_file(file, self.suite.name, None)
            if not rows:
                raise UsageError(f"no completions in {file}")
            named = {row.problem.split("/")[0] for row in rows}
            found = [name for name in definitions() if named & {q.name for q in definition(name).questions}]
            return [self.options.version] if chosen or not found else found, rows
        try:
            content = read_bytes(file).decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"cannot read {file}: not UTF-8") from None
        refusal: UsageError | None = None
        for name in [self.options.version] if chosen else definitions():
            try:
                return [name], read_results(content, self._load(definition(name)), str(file))
            except UsageError as error:
                refusal = refusal or error
        raise refusal or UsageError(f"{file}: no completions")

    def _check_golds(self, version: SqlDefinition, database: Database) -> None:
        """No run begins on golds that do not pass themselves: every verdict would be worth nothing."""
        report = database.check_golds(self._questions[version.name])
        if report.failed:
            problem, why = next(iter(report.failed.items()))
            raise InfrastructureError(f"{len(report.failed)} gold queries fail, the first is {problem}: {why}")
        self._noted[version.name] = {"golds": report.queries, "known_bad": report.known_bad, "tied": report.tied}

    def problems(self) -> list[Problem]:
        return self._problems

    def given(self) -> list[Work]:
        return self._given

    def describe(self) -> Facts:
        return Facts(
            data={f"sql/{name}": content_key([p.key for p in problems]) for name, problems in self._questions.items()},
            comparable={"databases": {name: database.facts for name, database in self._databases.items()}},
            noted={"golds": self._noted},
        )

    def request(self, problem: Problem, sample: int, history: Sequence[Completion]) -> GenerationRequest | None:
        if history:
            return None
        if self.asking.style is PromptStyle.CHAT:
            return request_of(self.asking, problem, sample, [Message(role="user", content=problem.prompt)])
        # what follows the first semicolon is cut away in any case
        return request_of(self.asking, problem, sample, problem.prompt, stops=(";",))

    def key(self, work: Work) -> str:
        facts = self._databases[self._version[work.problem.id]].facts
        ground = [facts[name] for name in ("postgres", "as_of", "clock", "data")]
        judged = [self.options.comparer, self.options.robust, self.options.timeout_s]
        return content_key([_query(work), work.problem.checker, ground, judged])

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        with ThreadPoolExecutor(self.workers) as pool:
            pending: set[Future[Outcome]] = set()
            for work in works:
                pending.add(pool.submit(self._outcome, work))
                ended, pending = wait(pending, 0 if len(pending) < 4 * self.workers else None, FIRST_COMPLETED)
                yield from (future.result() for future in ended)
            for future in pending:
                yield future.result()

    def _outcome(self, work: Work) -> Outcome:
        sql, comparer = _query(work), self.options.comparer
        found = self._databases[self._version[work.problem.id]].judge(work.problem, sql)
        robust: Row = {"robust_passed": found.robust_passed} if self.options.robust else {}
        return work.outcome(
            found.verdict(comparer).value,
            None if found.void else float(bool(found.passed(comparer))),
            self.key(work),
            void=Void(who="database", why=found.reason) if found.void else None,
            reference_passed=found.reference_passed,
            strict_passed=found.strict_passed,
            **robust,
            outcome=found.outcome.value,
            reason=found.reason,
            reference_error=found.reference_error,
            sqlstate=found.sqlstate,
            row_count=found.row_count,
            known_bad=any(work.problem.id in version.known_bad for version in self._versions),
            stage="run",
            wall_s=found.seconds,
            stdout="",
            stderr="" if found.passed(comparer) else found.reason,
            program=sql,
        )

    def close(self) -> None:
        self._stack.close()


def _query(work: Work) -> str:
    return work.source if work.source is not None else extract_sql(work.completion.text, work.completion.style)


def _with_tasks(rows: Iterable[Imported], problems: Sequence[Problem]) -> list[Imported]:
    """Rows under their problem's own task: the id names the question, a file may name its category otherwise."""
    tasks = {problem.id: problem.task for problem in problems}
    found = []
    for row in rows:
        if row.problem not in tasks:
            raise UsageError(f"{row.where}: no question {row.problem!r} with a gold query")
        found.append(replace(row, task=tasks[row.problem]))
    return found


def read_results(content: str, problems: Iterable[Problem], where: str) -> list[Imported]:
    """Completions from a result file of sql-eval (CSV with question, db_name and generated_query).

    Questions are found by text and database; a question that stands several times in the file counts as
    samples 0, 1, … of its problem. Raises UsageError for a file of another shape or an unknown question.
    """
    golds = [(problem, problem.checker) for problem in problems if isinstance(problem.checker, GoldSql)]
    by_question = {(gold.database, gold.question.strip()): problem for problem, gold in golds}
    reader = csv.DictReader(io.StringIO(content, newline=""))
    missing = {"question", "db_name", "generated_query"} - set(reader.fieldnames or ())
    if missing:
        raise UsageError(f"{where}: not a result file of sql-eval: no column {', '.join(sorted(missing))}")
    samples: Counter[str] = Counter()
    found = []
    for line, raw in enumerate(reader, start=1):
        question = raw["question"] or ""
        problem = by_question.get((raw["db_name"] or "", question.strip()))
        if problem is None:
            raise UsageError(f"{where}: row {line}: not a question of this version: {question[:60]!r}")
        sample, text = samples[problem.id], raw["generated_query"] or ""
        found.append(Imported(where=where, task=problem.task, problem=problem.id, sample=sample, text=text))
        samples[problem.id] += 1
    return found
