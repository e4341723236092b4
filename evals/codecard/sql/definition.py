"""The SQL suite: definitions, questions, gold expansion, schema text and prompts. Reads files, no more.

Everything follows defog-ai/sql-eval at the revision its definition names (`tasks/sql/*.toml`).
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from codecard.model import Completion, GoldSql, Problem, PromptStyle, UsageError
from codecard.paths import tasks_dir
from codecard.pinned import PinnedFile
from codecard.settings import read_toml

__all__ = [
    "PromptForm",
    "QuestionSet",
    "SqlDefinition",
    "completions_from_results",
    "definition",
    "definitions",
    "expand_gold",
    "load",
    "prune",
    "schema_text",
]

_ASKS_ORDER = re.compile(
    r"\b(order(ed|ing)?|sort(ed|ing)?|arrang(e|ed|ing)|rank(ed|ing)|ascending(ly)?|descending(ly)?|alphabetical(ly)?"
    r"|chronological(ly)?|(highest|largest|longest|most|latest|newest) to (the )?\w+"
    r"|(lowest|smallest|shortest|least|fewest|earliest|oldest) to (the )?\w+)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """How a question is put. Either `file` or `text` holds the template."""

    name: str
    style: PromptStyle
    file: PinnedFile | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """One CSV file; its problems are `<name>/<row>`. `known_bad`: rows whose gold finds only NULL."""

    name: str
    file: PinnedFile
    known_bad: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlDefinition:
    """A version of the benchmark. `as_of`: the date at which its clock stands unless told otherwise."""

    name: str
    as_of: date
    columns: tuple[str, ...]
    categories: Mapping[str, str]
    counts: Mapping[str, int]
    questions: tuple[QuestionSet, ...]
    schemas: Mapping[str, PinnedFile]
    metadata: Mapping[str, PinnedFile]
    prompts: Mapping[str, PromptForm]

    @property
    def files(self) -> tuple[PinnedFile, ...]:
        """Every file the version needs."""
        forms = tuple(form.file for form in self.prompts.values() if form.file)
        sets = tuple(questions.file for questions in self.questions)
        return (*sets, *forms, *self.schemas.values(), *self.metadata.values())

    @property
    def known_bad(self) -> frozenset[str]:
        return frozenset(f"{q.name}/{row}" for q in self.questions for row in q.known_bad)


def definitions() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (tasks_dir() / "sql").glob("*.toml") if path.stem != "suite"))


@functools.cache
def definition(name: str) -> SqlDefinition:
    """The version `name` (`2024-03`, `newest`)."""
    path = tasks_dir() / "sql" / f"{name}.toml"
    if name not in definitions():
        raise UsageError(f"no SQL version {name!r}; there are {', '.join(definitions())}")
    raw = read_toml(path)
    hashes: dict[str, str] = raw["databases"]["sha256"]
    pinned = {file: _database_file(raw["databases"], file, sha256) for file, sha256 in hashes.items()}
    return SqlDefinition(
        name=raw["name"],
        as_of=raw["as_of"],
        columns=tuple(raw["columns"]),
        categories={key: f"sql/{value['task']}" for key, value in raw["categories"].items()},
        counts={key: value["count"] for key, value in raw["categories"].items()},
        questions=tuple(
            QuestionSet(name=q["set"], file=_pinned(q), known_bad=frozenset(q.get("known_bad", ())))
            for q in raw["questions"]
        ),
        schemas={Path(file).stem: pin for file, pin in pinned.items() if file.endswith(".sql")},
        metadata={Path(file).stem: pin for file, pin in pinned.items() if file.endswith(".json")},
        prompts={
            key: PromptForm(
                name=key,
                style=PromptStyle(form["style"]),
                file=_pinned(form) if "file" in form else None,
                text=form.get("text", ""),
            )
            for key, form in raw["prompts"].items()
        },
    )


def _pinned(entry: Mapping[str, Any]) -> PinnedFile:
    return PinnedFile(path=entry["file"], url=entry["url"], sha256=entry["sha256"])


def _database_file(entry: Mapping[str, Any], file: str, sha256: str) -> PinnedFile:
    url = str(entry["url"]).format(name=Path(file).stem, file=file)
    return PinnedFile(path=f"{entry['folder']}/{file}", url=url, sha256=sha256)


# ---------------------------------------------------------------- gold


def expand_gold(text: str) -> tuple[str, ...]:
    """Every query a gold accepts, in order, as `get_all_minimal_queries` has it (eval/eval.py, 563a9c85).

    Alternatives stand between semicolons. In each, the first `{a, b}` stands for any non-empty subset of its
    columns, in their order, and a later `GROUP BY {}` for the same columns.
    """
    queries: list[str] = []
    for alternative in filter(None, map(str.strip, text.split(";"))):
        start = alternative.find("{")
        end = alternative.find("}", start + 1)
        if start < 0 or end < 0:
            queries.append(alternative)
            continue
        options = alternative[start + 1 : end].split(",")
        sizes = range(1, len(options) + 1)
        for subset in itertools.chain.from_iterable(itertools.combinations(options, n) for n in sizes):
            chosen = ", ".join(subset)
            rest = alternative[end + 1 :].replace("GROUP BY {}", f"GROUP BY {chosen}")
            queries.append(alternative[:start] + chosen + rest)
    return tuple(queries)


# ---------------------------------------------------------------- schema and prompt

Metadata = Mapping[str, list[dict[str, str]]]
"""Columns of each table: `column_name`, `data_type`, `column_description`."""


def schema_text(tables: Metadata) -> str:
    """The schema as CREATE TABLE statements with each column's description as a comment, all columns kept."""
    statements = []
    for table, columns in tables.items():
        lines = [f"CREATE TABLE {table} ("]
        for at, column in enumerate(columns):
            comma = "," if at + 1 < len(columns) else ""
            description = " ".join(column.get("column_description", "").split())
            note = f" --{description}" if description else ""
            lines.append(f"  {column['column_name']} {column['data_type']}{comma}{note}")
        statements.append("\n".join([*lines, ");"]))
    return "\n\n".join(statements)


def prune(tables: Metadata, question: str, keep: int) -> dict[str, list[dict[str, str]]]:
    """The `keep` columns whose name and description share most words with the question, in schema order.

    sql-eval ranked by sentence embeddings; this ranks by shared words, weighted by their rarity in the
    schema, and so is a protocol of its own. Ties are broken by schema order.
    """
    entries = [(table, column) for table, columns in tables.items() for column in columns]
    words = [_words(f"{t} {c['column_name']} {c.get('column_description', '')}") for t, c in entries]
    seen = Counter(itertools.chain.from_iterable(words))
    asked = _words(question)
    ranked = sorted(range(len(entries)), key=lambda at: -sum(1 / seen[word] for word in words[at] & asked))
    kept = set(ranked[:keep])
    pruned: dict[str, list[dict[str, str]]] = {}
    for at, (table, column) in enumerate(entries):
        if at in kept:
            pruned.setdefault(table, []).append(column)
    return pruned


def _words(text: str) -> set[str]:
    """Lower-case words without a plural s; `_` parts words."""
    return {word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text.lower().replace("_", " "))}


def _prompt(template: str, question: str, schema: str) -> str:
    return template.replace("{user_question}", question).replace("{table_metadata_string}", schema)


# ---------------------------------------------------------------- problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    id: str
    question: str
    instructions: str
    query: str
    database: str
    category: str


def load(
    version: SqlDefinition,
    folder: Path,
    *,
    prompt: str = "generic",
    limit: int | None = None,
    num_columns: int | None = None,
) -> list[Problem]:
    """The version's problems, in file order; `limit` is per category, `num_columns` prunes the schema.

    `folder` is laid out as CODECARD_DATA/sql. Raises UsageError where a file is missing or not the pinned
    one, where a question has no gold, and where it names a database or a category the version does not have.
    """
    form = version.prompts.get(prompt)
    if form is None:
        raise UsageError(f"no SQL prompt form {prompt!r}; there are {', '.join(sorted(version.prompts))}")
    template = form.file.read(folder).decode("utf-8") if form.file else form.text
    tables = {name: json.loads(pin.read(folder))["table_metadata"] for name, pin in version.metadata.items()}
    problems, taken = [], Counter[str]()
    for row in _rows(version, folder):
        taken[row.category] += 1
        if limit is not None and taken[row.category] > limit:
            continue
        columns = tables[row.database]
        schema = schema_text(prune(columns, row.question, num_columns) if num_columns else columns)
        asked = f"{row.question}\n{row.instructions}" if row.instructions else row.question
        problems.append(_problem(version, row, _prompt(template, asked, schema)))
    if limit is None and taken != Counter(version.counts):
        raise UsageError(f"SQL version {version.name}: the questions per category are not those of its definition")
    return problems


def _problem(version: SqlDefinition, row: _Row, prompt: str) -> Problem:
    gold = GoldSql(
        database=row.database,
        queries=expand_gold(row.query),
        ordered=row.category == "order_by" or bool(_ASKS_ORDER.search(row.question)),
        source=row.query,
        question=row.question,
        category=row.category,
    )
    task = version.categories[row.category]
    return Problem(task=task, id=row.id, cluster=row.id, prompt=prompt, checker=gold)


def _rows(version: SqlDefinition, folder: Path) -> Iterator[_Row]:
    for questions in version.questions:
        content = questions.file.read(folder).decode("utf-8")
        yield from parse_questions(version, questions.name, content)


def parse_questions(version: SqlDefinition, name: str, content: str) -> Iterator[_Row]:
    """The rows of one question file."""
    for at, raw in enumerate(csv.DictReader(io.StringIO(content, newline=""))):
        where = f"{name}/{at}"
        row = _Row(
            id=where,
            question=raw.get("question") or "",
            instructions=(raw.get("full_instructions") or raw.get("instructions") or "").strip(),
            query=raw.get("query") or "",
            database=raw.get("db_name") or "",
            category=raw.get("query_category") or "",
        )
        if not expand_gold(row.query):
            raise UsageError(f"{where}: the question has no gold query")
        if row.database not in version.schemas:
            raise UsageError(f"{where}: unknown database {row.database!r}; there are {', '.join(version.schemas)}")
        if row.category not in version.categories:
            raise UsageError(f"{where}: unknown category {row.category!r}")
        yield row


# ---------------------------------------------------------------- importing


def completions_from_results(content: str, problems: list[Problem], where: str) -> list[Completion]:
    """Completions from a result file of sql-eval (CSV with question, db_name and generated_query).

    Questions are found by text and database; a question that stands several times in the file counts as
    samples 0, 1, … of its problem. Raises UsageError for a file of another shape or an unknown question.
    """
    by_question = {
        (p.checker.database, p.checker.question.strip()): p for p in problems if isinstance(p.checker, GoldSql)
    }
    reader = csv.DictReader(io.StringIO(content, newline=""))
    missing = {"question", "db_name", "generated_query"} - set(reader.fieldnames or ())
    if missing:
        raise UsageError(f"{where}: not a result file of sql-eval: no column {', '.join(sorted(missing))}")
    samples: Counter[str] = Counter()
    completions = []
    for line, raw in enumerate(reader, start=1):
        problem = by_question.get((raw["db_name"] or "", (raw["question"] or "").strip()))
        if problem is None:
            raise UsageError(f"{where}: row {line}: not a question of this version: {(raw['question'] or '')[:60]!r}")
        text = raw["generated_query"] or ""
        completions.append(Completion(task=problem.task, problem=problem.id, sample=samples[problem.id], text=text))
        samples[problem.id] += 1
    return completions
