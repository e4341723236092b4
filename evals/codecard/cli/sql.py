"""Options and steps of `codecard run` and `codecard score` that belong to the SQL suite alone."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.model import PromptStyle, UsageError
from codecard.pipeline import Asking, Work
from codecard.pipeline.sql import (
    SUITE,
    SqlEvaluator,
    SqlPlan,
    greedy,
    load_questions,
    read_result_file,
    versions_of,
    with_tasks,
)
from codecard.report.sql_tables import sql_markdown, sql_remarks, sql_table
from codecard.sql import DatabaseOptions, parse_day
from codecard.sql.doctor import diagnose
from codecard.store import read_executions, read_manifest
from codecard.store.importers import Imported, match, read_completion_file
from codecard.tasks.sql import definition, protocol

DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="sql: a PostgreSQL that is there already")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="sql: the frozen date, YYYY-MM-DD; default: the version's")]
SqlVersion = Annotated[str | None, typer.Option("--sql-version", help="sql: 2024-03 (the card's) or newest")]
SqlPrompt = Annotated[str | None, typer.Option("--sql-prompt", help="sql: generic, tags or chat")]
NumColumns = Annotated[int | None, typer.Option("--num-columns", min=1, help="sql: schema pruned to N columns")]
Robust = Annotated[bool, typer.Option("--robust", help="sql: judge on three perturbed copies as well")]


_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*(?=@)|(password=)('[^']*'|\S+)")


def arguments() -> tuple[str, ...]:
    """The command line for the manifest, without the password of a `--database-url`."""
    return tuple(_PASSWORD.sub(lambda found: f"{found.group(1) or found.group(2)}…", word) for word in sys.argv[1:])


def _grounds(manifest: dict[str, Any]) -> list[str]:
    """On what the numbers stand: version, server, date, and whose verdict the profile counts."""
    asked = manifest["sql"]["protocol"]
    return [
        f"sql-eval {name}, PostgreSQL {facts['postgres']}, as of {facts['as_of']} ({facts['clock']}); "
        f"this profile counts the verdicts of `{asked['comparer']}`"
        for name, facts in manifest["sql"]["databases"].items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOptions:
    """The suite's options as they were typed."""

    database_url: str | None = None
    as_of: str | None = None
    version: str | None = None
    prompt: str | None = None
    num_columns: int | None = None
    robust: bool = False


def sql_plan(
    profile: str,
    typed: SqlOptions,
    style: PromptStyle,
    *,
    data_dir: Path | None,
    limit: int | None = None,
    workers: int | None = None,
) -> SqlPlan:
    """The profile's protocol with the user's changes; a chat model gets the chat form unless told otherwise."""
    asked = protocol(profile)
    if typed.version:
        asked = replace(asked, version=definition(typed.version).name)
    form = typed.prompt or ("chat" if style is PromptStyle.CHAT else asked.prompt)
    options = DatabaseOptions(
        url=typed.database_url,
        as_of=parse_day(typed.as_of) if typed.as_of else None,
        robust=typed.robust,
        workers=workers or 4,
    )
    return SqlPlan(
        protocol=replace(asked, prompt=form, num_columns=typed.num_columns),
        options=options,
        data_dir=data_dir,
        limit=limit,
    )


def sql_asking(plan: SqlPlan, asking: Asking, suites: tuple[str, ...], samples: int | None) -> Asking:
    """Greedy. Another suite's sampling cannot be had in the same run."""
    if set(suites) != {SUITE}:
        raise UsageError("--suite sql is asked greedily, one sample a question: run it by itself")
    if samples is not None and samples != 1:
        raise UsageError(f"--samples {samples}: the sql suite is greedy; more samples would all be the same")
    version = definition(plan.protocol.version)
    form = version.prompts.get(plan.protocol.prompt)
    if form is not None and form.style is PromptStyle.CHAT:
        asking = replace(asking, style=PromptStyle.CHAT)
    return greedy(plan.protocol, asking, asking.sampling.max_new_tokens)


def sql_works(files: list[Path], plan: SqlPlan, *, chosen: bool) -> tuple[SqlEvaluator, list[Work]]:
    """An evaluator for the versions the files need, and their completions. `chosen`: the user named the version."""
    works: list[Work] = []
    rows: list[Imported] = []
    versions: list[str] = []
    for file in files:
        if file.suffix == ".csv":
            asked = replace(plan, versions=(plan.protocol.version,)) if chosen else plan
            version, completions = read_result_file(file, asked)
            versions.append(version)
            rows += [
                Imported(where=str(file), task=c.task, problem=c.problem, sample=c.sample, text=c.text)
                for c in completions
            ]
        else:
            rows += read_completion_file(file, SUITE, None)
    if not rows:
        raise UsageError(f"no completions in {', '.join(map(str, files))}")
    named = (plan.protocol.version,) if chosen else versions_of(rows, plan.protocol.version)
    plan = replace(plan, versions=tuple(dict.fromkeys((*named, *versions))))
    problems = [problem for questions in load_questions(plan).values() for problem in questions]
    for found in match(with_tasks(rows, problems), problems):
        works.append(Work(problem=found.problem, completion=found.completion, source=found.program, label=found.label))
    return SqlEvaluator(plan), works


def show_sql(console: Console, run: Path, label: str) -> str:
    """Prints the suite's table and remarks; returns them as Markdown."""
    rows = [row for row in read_executions(run).values() if str(row["task"]).startswith(f"{SUITE}/")]
    notes = [*sql_remarks(rows), *_grounds(read_manifest(run))]
    console.print(sql_table(label, rows))
    for line in notes:
        console.print(Text(line, style="yellow"))
    return sql_markdown(label, rows) + "".join(f"\n- {line}" for line in notes) + ("\n" if notes else "")


def database_doctor(url: str | None, as_json: bool) -> None:
    """Starts the server, attacks it, and judges every gold against itself; exit 3 if anything is off."""
    findings = diagnose(definition("2024-03"), DatabaseOptions(url=url))
    fine = all(finding.fine for finding in findings)
    if as_json:
        typer.echo(json.dumps({"findings": [dataclasses.asdict(f) for f in findings], "fine": fine}, indent=1))
    else:
        table = Table(title="database", title_justify="left", show_header=False)
        for found in findings:
            mark = Text("ok", style="green") if found.fine else Text("off", style="bold red")
            table.add_row(found.name, mark, Text(found.seen))
        Console().print(table)
    if not fine:
        raise typer.Exit(3)
