"""`codecard doctor`: does the sandbox of this machine do what a run will lean on?"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console

from codecard.model import LANGUAGES, UsageError


def doctor_command(
    sandbox: Annotated[str | None, typer.Option(help="docker or bwrap; none: what a run would take")] = None,
    languages: Annotated[list[str] | None, typer.Option("--lang", help="a language; again for more; none: all")] = None,
    short: Annotated[bool, typer.Option("--short", help="only a good, a wrong and an early-exiting program")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON")] = False,
    database: Annotated[bool, typer.Option("--database", help="the SQL suite's server instead of the sandbox")] = False,
    database_url: Annotated[str | None, typer.Option("--database-url", help="with --database: this server")] = None,
) -> None:
    """Run programs whose verdicts are known; exit 3 if one gets another. Measures the host factor."""
    if database or database_url:
        from codecard.cli.sql import database_doctor

        database_doctor(database_url, as_json)
        return
    from codecard.report.doctor import doctor_report
    from codecard.sandbox import open_sandbox
    from codecard.sandbox.doctor import diagnose
    from codecard.sandbox.host import store_host_factor
    from codecard.tasks.definitions import unknown

    for language in languages or []:
        if language not in LANGUAGES:
            raise UsageError(unknown("language", language, list(LANGUAGES)))
    chosen = tuple(language for language in LANGUAGES if not languages or language in languages)
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
