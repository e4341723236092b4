"""`codecard card`: audit a card, write it again, write its metadata."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codecard.card.audit import audit
from codecard.card.model_index import eval_results, load_hub_tasks, model_index, put_model_index
from codecard.card.render import render
from codecard.card.reported import load_reported
from codecard.files import write_bytes
from codecard.model import UsageError
from codecard.paths import reported_dir, tasks_dir
from codecard.runs.measured import read_measurements
from codecard.settings import bare_name

app = typer.Typer(help="Read a model card: audit it, write it again, write its metadata.", no_args_is_help=True)

CardFile = Annotated[Path, typer.Argument(help="the card: Markdown with or without front matter")]
OutFile = Annotated[Path | None, typer.Option("--out", help="a file; default: standard output")]
With = Annotated[list[Path] | None, typer.Option("--with", help="a run folder or a raw lm-eval output; repeatable")]
RowNames = Annotated[
    list[str] | None,
    typer.Option("--row", "--row-model", help="LABEL=MODEL: the row that a run's model stands in; repeatable"),
]


@app.command("audit")
def audit_command(
    file: CardFile, as_json: Annotated[bool, typer.Option("--json", help="a list of {line, kind, message}")] = False
) -> None:
    """Check a card's arithmetic and whether its parts agree; exit 1 when something is found."""
    findings = audit(read_card(file), load_reported(reported_dir()))
    if as_json:
        rows = [{"line": f.line, "kind": f.kind, "message": f.message} for f in findings]
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(f"{file}:{finding.line}: {finding.kind}: {finding.message}")
        noun = "finding" if len(findings) == 1 else "findings"
        typer.echo(f"{file}: {len(findings) or 'no'} {noun}", err=True)
    if findings:
        raise typer.Exit(1)


@app.command("render")
def render_command(
    file: CardFile,
    measured: With = None,
    out: OutFile = None,
    row: RowNames = None,
    rebold: Annotated[bool, typer.Option("--rebold", help="mark the best of each measured column")] = False,
    index: Annotated[
        str, typer.Option("--model-index", help="front matter: replace measured values, keep, or drop")
    ] = "replace",
) -> None:
    """Write the whole document again; only measured cells change."""
    measurements = read_measurements(measured or [])
    document = read_card(file)
    rendered = render(document, load_reported(reported_dir()), measurements, parse_rows(row), rebold)
    names = load_hub_tasks(tasks_dir() / "model_index.toml")
    text = put_model_index(rendered.document, measurements, names, index)
    write_out(text, out)
    console = Console(stderr=True)
    for note in rendered.notes:
        console.print(note, style="yellow", highlight=False, markup=False)
    changed = sum(change.old != change.new for change in rendered.changes)
    if measurements:
        console.print(f"{len(rendered.changes)} cells measured, {changed} changed", highlight=False)


@app.command("model-index")
def model_index_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders and raw lm-eval outputs of one model")],
    name: Annotated[str, typer.Option("--name", help="the model's Hub name; default: the runs' model")] = "",
    form: Annotated[
        str, typer.Option("--format", help="model-index, or eval-results for .eval_results/*.yaml")
    ] = "model-index",
    notes: Annotated[str, typer.Option("--notes", help="eval-results: what sets this run apart")] = "",
    out: OutFile = None,
) -> None:
    """Write measured numbers as metadata; huggingface_hub's own loader has read it before it is written."""
    measurements = read_measurements(runs)
    models = list(dict.fromkeys(bare_name(m.model) for m in measurements))
    if len(models) != 1:
        raise UsageError(f"the runs are of several models ({', '.join(models)}): one at a time")
    names = load_hub_tasks(tasks_dir() / "model_index.toml")
    if form == "model-index":
        write_out(model_index(name or models[0], measurements, names), out)
    elif form == "eval-results":
        write_out(eval_results(measurements, names, notes), out)
    else:
        raise UsageError(f"--format is model-index or eval-results, not {form!r}")


def read_card(file: Path) -> str:
    """A card's text with its line ends as they are. Raises UsageError in one line."""
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {os.strerror(error.errno or 0)}") from None
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise UsageError(f"{file}:{line}: not UTF-8") from None


def write_out(text: str, out: Path | None) -> None:
    """To a file, whole or not at all, or to standard output, byte for byte."""
    if out is not None:
        write_bytes(out, text.encode("utf-8"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.buffer.flush()


def parse_rows(given: list[str] | None) -> dict[str, str]:
    """`LABEL=MODEL` options as a mapping."""
    rows = {}
    for text in given or []:
        label, found, model = text.partition("=")
        if not found or not label.strip() or not model.strip():
            raise UsageError(f"{text!r}: expected LABEL=MODEL")
        rows[label.strip()] = model.strip()
    return rows
