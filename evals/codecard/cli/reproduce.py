"""`codecard reproduce`: the card's own protocol, then reported beside measured with a verdict per cell."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard import api
from codecard.card.assumptions import (
    ASSUMPTIONS,
    Assumption,
    Value,
    assumptions_of,
    checked_assumptions,
    refuse_what_cannot_run,
)
from codecard.card.beside import COLUMNS, beside_markdown, cell_texts, omnibus, report_rows, tally
from codecard.card.markdown import find_tables
from codecard.card.reported import ReportedTable, find_definition, load_reported
from codecard.card.reproduce import Choices, Report, reproduce
from codecard.cli import options as o
from codecard.cli.card import CardFile, RowNames, With, parse_rows, read_card, write_out
from codecard.model import CodecardError, UsageError
from codecard.paths import reported_dir
from codecard.report.terminal import TerminalWatcher, show_run
from codecard.runs.measured import read_measurements, run_facts
from codecard.settings import RunConfig
from codecard.stats.reproduction import Rung, Settings
from codecard.suites import find_suite

PROFILE = "card-2024-03"
STYLES = {
    Rung.EXACT: "green",
    Rung.CONSISTENT: "green",
    Rung.CLOSE: "yellow",
    Rung.NOT_REPRODUCED: "red",
    Rung.NOT_COMPARABLE: "magenta",
    Rung.NOT_ATTEMPTED: "dim",
}


def _parameter(assumption: Assumption) -> inspect.Parameter:
    kind: Any = str if assumption.default is None else type(assumption.default)
    if assumption.name in ("max_new_tokens", "num_columns"):
        kind = int
    note = f": {', '.join(assumption.choices)}" if assumption.choices else ""
    flags = [assumption.flag if kind is not bool else f"{assumption.flag}/--no-{assumption.flag[2:]}"]
    flags += [assumption.old] if assumption.old else []
    option = typer.Option(*flags, help=assumption.question + note, rich_help_panel=f"Assumptions: {assumption.suite}")
    return o.parameter(assumption.name, kind, option, assumption.default)


@o.configured("model", "base_url", "device", "batch_size", "limit", "workers")
@o.with_parameters("assumed", {a.name: _parameter(a) for a in ASSUMPTIONS if a.name != "row_model"})
def reproduce_command(
    *,
    card: CardFile,
    measured: With = None,
    run: Annotated[Path | None, typer.Option("--run", help="the folder of the runs of --model, resumed there")] = None,
    config: o.Config = None,
    row: RowNames = None,
    out: Annotated[Path | None, typer.Option("--out", help="also write the tables as Markdown")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a list of cells")] = False,
    given: dict[str, Any],
    assumed: dict[str, Value],
) -> None:
    """Judge every number of a card: reported beside measured, from given runs or from a run made now."""
    document, known = read_card(card), load_reported(reported_dir())
    values = checked_assumptions(assumed)
    tables = _known_tables(document, known)
    if not tables:
        raise UsageError(f"{card}: no table that codecard knows ({', '.join(t.heading for t in known)})")
    paths = list(measured or [])
    not_run: list[str] = []
    if given["model"] is not None or config is not None:
        made, not_run = run_protocols(list(tables.values()), RunConfig.merged(config, given), run, values)
        paths += made
    choices = Choices(
        rows=parse_rows(row),
        measure_quoted=bool(values["measure_quoted_rows"]),
        settings=Settings(assumed_reported_samples=int(values["assumed_reported_n"] or 0) or 1),
        model_index=str(values["model_index"]),
        percent_format="" if values["percent_format"] == "row" else str(values["percent_format"]),
    )
    report = reproduce(document, known, read_measurements(paths), choices)
    notes = {heading: assumptions_of(table.suite, values) for heading, table in tables.items()}
    facts = [fact for path in paths if (fact := run_facts(path, values))]
    report = replace(report, notes=(*report.notes, *not_run, *facts))
    if out is not None:
        write_out(beside_markdown(report, notes), out)
    if as_json:
        typer.echo(json.dumps(report_rows(report), indent=1, ensure_ascii=False))
        for note in report.notes:
            typer.echo(note, err=True)
    else:
        show_report(Console(), report, notes)


def run_protocols(
    tables: list[ReportedTable], config: RunConfig, run: Path | None, values: dict[str, Value]
) -> tuple[list[Path], list[str]]:
    """Run or resume every suite that the card's tables need, each in a folder of its own under `run`.

    Returns the folders that have scores, and a line for each suite that could not be run: its cells are then
    not attempted. Raises UsageError for an assumption that is not run here, before anything starts.
    """
    suites = list(dict.fromkeys(table.suite for table in tables))
    for suite in suites:
        refuse_what_cannot_run(suite, values)
    root = run or api.RUNS / ("reproduce-" + "".join(c if c.isalnum() else "-" for c in str(config.model)))
    done, notes = [], []
    for suite in suites:
        out = root / suite
        own = find_suite(suite).assumed(values) | {"suites": [suite], "profile": PROFILE, "out": str(out)}
        asked = RunConfig.merged(None, config.model_dump(exclude_none=True) | own)
        try:
            with TerminalWatcher(Console(stderr=True)) as watcher:
                made = api.run_config(asked, watcher, o.arguments())
            show_run(Console(stderr=True), made)
            if made.missing:
                notes.append(f"{suite} is not whole: {made.missing}")
        except CodecardError as error:
            notes.append(f"{suite} was not run: {error}")
        if (out / "scores.json").exists():
            done.append(out)
    return done, notes


def _known_tables(document: str, known: tuple[ReportedTable, ...]) -> dict[str, ReportedTable]:
    """The card's tables that have a protocol, by heading; its model-index too."""
    found = {}
    for table in find_tables(document):
        if (definition := find_definition(known, table)) is not None:
            found[table.heading] = definition
    if "model-index:" in document:
        found |= {table.heading: table for table in known if table.front_matter}
    return found


def show_report(console: Console, report: Report, notes: dict[str, list[str]]) -> None:
    """The tables on a terminal; text of the card is shown as it is, never as markup."""
    for heading in dict.fromkeys(cell.table for cell in report.cells):
        shown = Table(title=Text(heading), title_justify="left", box=None, pad_edge=False)
        for name in COLUMNS:
            shown.add_column(name, justify="right" if name in ("reported", "measured", "difference") else "left")
        for cell in report.cells:
            if cell.table == heading:
                *texts, verdict = cell_texts(cell)
                shown.add_row(*map(Text, texts), Text(verdict, style=STYLES[cell.outcome.rung]))
        console.print(shown)
        for test in report.row_tests:
            if test.table == heading:
                console.print(
                    Text(f"{test.row}: all {test.cells} cells at once, {omnibus(test.chi2, test.cells, test.p)}")
                )
        for line in notes.get(heading, []):
            console.print(Text(f"assumed: {line}", style="dim"))
        console.print()
    for note in report.notes:
        console.print(Text(note, style="yellow"))
    console.print(Text(tally(report)))
