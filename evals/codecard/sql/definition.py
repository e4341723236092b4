"""The SQL suite's versions: their files, questions, gold expansion, schema text and prompts.

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

from codecard import paths
from codecard.model import GoldSql, Problem, PromptStyle, UsageError
from codecard.pinned import PinnedFile
from codecard.settings import read_toml

_ASKS_ORDER = re.compile(
    r"\b(order(ed|ing)?|sort(ed|ing)?|arrang(e|ed|ing)|rank(ed|ing)|ascending(ly)?|descending(ly)?|alphabetical(ly)?"
    r"|chronological(ly)?|(highest|largest|longest|most|latest|newest) to (the )?\w+"
    r"|(lowest|smallest|shortest|least|fewest|earliest|oldest) to (the )?\w+)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """How a question is put. Either `file` or `text` holds the template."""

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
    return tuple(sorted(path.stem for path in (paths.tasks_dir() / "sql").glob("*.toml") if path.stem != "suite"))


@functools.cache
def definition(name: str) -> SqlDefinition:
    """The version `name` (`2024-03`, `newest`)."""
    if name not in definitions():
        raise UsageError(f"no SQL version {name!r}; there are {', '.join(definitions())}")
    raw = read_toml(paths.tasks_dir() / "sql" / f"{name}.toml")
    folder, url = raw["databases"]["folder"], raw["databases"]["url"]
    pinned = {
        file: PinnedFile(path=f"{folder}/{file}", url=url.format(name=Path(file).stem, file=file), sha256=sha256)
        for file, sha256 in raw["databases"]["sha256"].items()
    }
    return SqlDefinition(
        name=raw["name"],
        as_of=raw["as_of"],
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
                style=PromptStyle(form["style"]),
                file=_pinned(form) if "file" in form else None,
                text=form.get("text", ""),
            )
            for key, form in raw["prompts"].items()
        },
    )


def _pinned(entry: Mapping[str, Any]) -> PinnedFile:
    return PinnedFile(path=entry["file"], url=entry["url"], sha256=entry["sha256"])


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


# ---------------------------------------------------------------- problems


def data_folder(version: SqlDefinition, data_dir: Path | None = None) -> Path:
    """The folder with the version's files, laid out as CODECARD_DATA/sql.

    That of `data_dir` or CODECARD_DATA where one is given; else the cache, after fetching what it lacks. Raises
    UsageError where the given folder has no `sql`, InfrastructureError where a file cannot be fetched or is not
    the pinned one.
    """
    given = data_dir or paths.data_dir()
    if given is not None:
        folder = given / "sql"
        if not folder.is_dir():
            raise UsageError(f"{given}: no folder `sql` there (see docs/sql.md for the layout)")
        return folder
    folder = paths.cache_dir() / "sql"
    for file in version.files:
        file.fetch(folder)
    return folder


def load(
    version: SqlDefinition, folder: Path, *, prompt: str = "generic", num_columns: int | None = None
) -> list[Problem]:
    """The version's problems, in file order; `num_columns` prunes the schema. `folder`: see `data_folder`.

    Raises UsageError where a file is missing or not the pinned one, where a question has no gold, and where it
    names a database or a category the version does not have.
    """
    form = version.prompts.get(prompt)
    if form is None:
        raise UsageError(f"no SQL prompt form {prompt!r}; there are {', '.join(sorted(version.prompts))}")
    template = form.file.read(folder).decode("utf-8") if form.file else form.text
    tables = {name: json.loads(pin.read(folder))["table_metadata"] for name, pin in version.metadata.items()}
    problems, counts = [], Counter[str]()
    for questions in version.questions:
        content = questions.file.read(folder).decode("utf-8")
        for name, asked, gold in parse_questions(version, questions.name, content):
            counts[gold.category] += 1
            columns = tables[gold.database]
            schema = schema_text(prune(columns, gold.question, num_columns) if num_columns else columns)
            text = template.replace("{user_question}", asked).replace("{table_metadata_string}", schema)
            task = version.categories[gold.category]
            problems.append(Problem(task=task, id=name, cluster=name, prompt=text, checker=gold))
    if counts != Counter(version.counts):
        raise UsageError(f"SQL version {version.name}: the questions per category are not those of its definition")
    return problems


def parse_questions(version: SqlDefinition, name: str, content: str) -> Iterator[tuple[str, str, GoldSql]]:
    """(id, question with its instructions, gold) of each row of a question file."""
    for at, raw in enumerate(csv.DictReader(io.StringIO(content, newline=""))):
        where = f"{name}/{at}"
        question = raw.get("question") or ""
        category = raw.get("query_category") or ""
        instructions = (raw.get("full_instructions") or raw.get("instructions") or "").strip()
        gold = GoldSql(
            database=raw.get("db_name") or "",
            queries=expand_gold(raw.get("query") or ""),
            ordered=category == "order_by" or bool(_ASKS_ORDER.search(question)),
            source=raw.get("query") or "",
            question=question,
            category=category,
        )
        if not gold.queries:
            raise UsageError(f"{where}: the question has no gold query")
        if gold.database not in version.schemas:
            raise UsageError(f"{where}: unknown database {gold.database!r}; there are {', '.join(version.schemas)}")
        if category not in version.categories:
            raise UsageError(f"{where}: unknown category {category!r}")
        yield where, f"{question}\n{instructions}" if instructions else question, gold
