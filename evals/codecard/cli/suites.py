"""`codecard suites`: what can be asked, and the options of each suite."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.cli import options as o
from codecard.settings import role_of, said_of
from codecard.suites import find_suite, suite_names
from codecard.suites.suite import Suite


def suites_command(
    name: Annotated[str | None, typer.Argument(help="one suite, with its tasks and options")] = None,
    tasks: o.Tasks = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """List the suites, or one suite's tasks and options.

    codecard suites NAME
    """
    o.use_tasks(tasks)
    suites = [find_suite(given) for given in ([name] if name else suite_names())]
    if as_json:
        typer.echo(json.dumps([_facts(suite) for suite in suites], indent=1))
    elif name:
        _show(suites[0])
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for suite in suites:
            table.add_row(Text(suite.name, style="bold"), Text(suite.summary or suite.title))
        Console().print(table)


def _facts(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "title": suite.title,
        "summary": suite.summary,
        "tasks": suite.tasks(),
        "shards": suite.shards,
        "options": [
            {
                "name": name,
                "default": field.get_default(),
                "about": field.description,
                "decides": role_of(field),
                "choices": said_of(field, "choices"),
            }
            for name, field in suite.options.model_fields.items()
        ],
    }


def _show(suite: Suite) -> None:
    console = Console()
    console.print(Text(f"{suite.name}: {suite.summary or suite.title}", style="bold"))
    console.print(Text("tasks: " + (", ".join(suite.tasks()) or "those of its data")))
    table = Table(box=None, pad_edge=False)
    for head in ("option", "default", "decides", ""):
        table.add_column(head)
    decides = {"asking": "what is asked", "judging": "what counts", "free": "–"}
    for name, field in suite.options.model_fields.items():
        default = field.get_default()
        shown = "" if default in (None, "", ()) else str(default)
        about = str(field.description or "tokens of a completion")
        table.add_row(*map(Text, (f"{suite.name}.{name}", shown, decides[role_of(field)], about)))
    console.print(table)
    console.print(Text("set one with --set SUITE.OPTION=VALUE, or in a profile's section", style="dim"))
