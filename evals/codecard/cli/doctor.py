"""`codecard doctor`: does what a run will lean on work on this machine?"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.cli import options as o
from codecard.languages import find_language, language_names
from codecard.suites import find_suite, suite_names
from codecard.text import printable


@o.configured("languages")
def doctor_command(
    *,
    sandbox: Annotated[str | None, typer.Option(help="docker or bwrap; none: what a run would take")] = None,
    short: Annotated[bool, typer.Option("--short", help="only a good, a wrong and an early-exiting program")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON")] = False,
    database: Annotated[bool, typer.Option("--database", help="the database's server instead of the sandbox")] = False,
    database_url: Annotated[str | None, typer.Option("--database-url", help="with --database: this server")] = None,
    lang: Annotated[list[str] | None, typer.Option("--lang", hidden=True)] = None,
    given: dict[str, Any],
) -> None:
    """Run programs whose verdicts are known; exit 3 if one gets another. Measures the host factor.

    codecard doctor --languages LANG,LANG
    """
    if database or database_url:
        _database(database_url, as_json)
        return
    from codecard.report.doctor import doctor_report
    from codecard.sandbox import open_sandbox
    from codecard.sandbox.doctor import diagnose
    from codecard.sandbox.host import store_host_factor

    o.renamed("--lang", "--languages", lang)
    wanted = {find_language(name).name for name in given["languages"] or lang or language_names()}
    chosen = tuple(name for name in language_names() if name in wanted)
    opened = open_sandbox(sandbox, lambda text: Console(stderr=True).print(text, highlight=False))
    try:
        diagnosis = diagnose(opened, chosen, short=short)
    finally:
        opened.close()
    if diagnosis.host is not None:
        store_host_factor(diagnosis.host)
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(diagnosis), "fine": diagnosis.fine}, indent=1))
    else:
        Console().print(doctor_report(diagnosis))
    if not diagnosis.fine:
        raise typer.Exit(3)


def _database(url: str | None, as_json: bool) -> None:
    """Starts the server, attacks it, and judges every gold against itself; exit 3 if anything is off."""
    findings: list[Any] = []
    for name in suite_names():
        findings += find_suite(name).diagnose_database(url)
    fine = all(finding.fine for finding in findings)
    if as_json:
        typer.echo(json.dumps({"findings": [dataclasses.asdict(f) for f in findings], "fine": fine}, indent=1))
    else:
        table = Table(title="database", title_justify="left", show_header=False)
        for found in findings:
            mark = Text("ok", style="green") if found.fine else Text("off", style="bold red")
            table.add_row(found.name, mark, Text(printable(found.seen)))
        Console().print(table)
    if not fine:
        raise typer.Exit(3)
