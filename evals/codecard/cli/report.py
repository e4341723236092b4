"""`codecard report`: a run rendered again, each time from its journals."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from codecard.files import write_text
from codecard.model import UsageError
from codecard.report.reported import reported_numbers
from codecard.runs.reading import Run, read_run, scores_json


class Format(StrEnum):
    TERMINAL = "terminal"
    MD = "md"
    HTML = "html"
    JUNIT = "junit"
    SUMMARY = "summary"
    JSON = "json"


FILES = {Format.HTML: "report.html", Format.JUNIT: "junit.xml", Format.SUMMARY: "summary.md", Format.MD: "tables.md"}


def report_command(
    run: Annotated[Path, typer.Argument(help="the run folder")],
    format: Annotated[list[Format] | None, typer.Option("--format", help="several may be given")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write; default: in the run folder")] = None,
    fail_wrong: Annotated[bool, typer.Option("--fail-wrong", help="JUnit: wrong answers are failures")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Render a run again: on the terminal, as Markdown, HTML, JUnit XML, a CI step summary, or JSON.

    codecard report RUN --format html
    """
    formats = list(dict.fromkeys(format or [])) or [Format.JSON if as_json else Format.TERMINAL]
    if out is not None and len([f for f in formats if f in FILES]) != 1:
        raise UsageError("--out names one file: give exactly one of the formats md, html, junit, summary")
    data = read_run(run)
    for chosen in formats:
        if chosen is Format.TERMINAL:
            from codecard.report.terminal import show_run

            show_run(Console(), data, reported_numbers(data))
        elif chosen is Format.JSON:
            typer.echo(json.dumps(_run_json(data), indent=1))
        else:
            target = out or data.path / FILES[chosen]
            write_text(target, _render(data, chosen, fail_wrong=fail_wrong))
            typer.echo(str(target))


def _render(data: Run, chosen: Format, *, fail_wrong: bool) -> str:
    if chosen is Format.MD:
        return data.markdown()
    if chosen is Format.HTML:
        from codecard.report.html import render_run

        return render_run(data, reported_numbers(data))
    if chosen is Format.JUNIT:
        from codecard.report.junit import run_junit

        return run_junit(data, fail_wrong=fail_wrong)
    from codecard.report.summary import append_step_summary, run_summary

    text = run_summary(data, reported_numbers(data))
    append_step_summary(text)
    return text


def _run_json(data: Run) -> dict[str, Any]:
    return {
        "run": data.name,
        "manifest": data.manifest.row(),
        "scores": scores_json(data.estimates),
        "remarks": data.remarks,
        "missing": data.missing,
    }
