"""`codecard judge`: calibration of judges, and FastChat's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codecard.files import read_json
from codecard.paths import data_dir as default_data_dir
from codecard.suites.mt_bench.data import open_data
from codecard.suites.mt_bench.fastchat import read_judgments
from codecard.suites.mt_bench.judge import open_judge
from codecard.suites.mt_bench.ratings import calibrate_judge, export_fastchat, rating_parser

app = typer.Typer(help="Judges and judgments of MT-Bench.", no_args_is_help=True)
TELL_EVERY = 10


@app.command("calibrate")
def calibrate_command(
    recorded: Annotated[Path, typer.Argument(help="a model_judgment file, e.g. gpt-4_single.jsonl")],
    judge: Annotated[str, typer.Option("--judge", help="the judge to be calibrated, named as a model is")],
    base_url: Annotated[str | None, typer.Option("--base-url", "--judge-base-url", help="the judge's server")] = None,
    attempts: Annotated[int, typer.Option("--attempts", "--judge-attempts", min=1, help="tries for a rating")] = 1,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", "--judge-max-new-tokens", min=1, help="default 2048")
    ] = None,
    fastchat_regex: Annotated[bool, typer.Option("--fastchat-regex", help="read ratings as FastChat does")] = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="benchmark data; default: CODECARD_DATA")] = None,
) -> None:
    """Put recorded prompts to another judge: agreement, bias and its interval. Kept for later scores."""
    data = open_data(data_dir or default_data_dir())
    opened = open_judge(judge, data, base_url=base_url, max_new_tokens=max_new_tokens)
    console, done = Console(stderr=True), 0

    def told(_: object) -> None:
        nonlocal done
        done += 1
        if done % TELL_EVERY == 0:
            console.print(f"{done} judgments", style="dim", highlight=False)

    try:
        rows = read_judgments(recorded, data)
        parse = rating_parser(data, as_fastchat=fastchat_regex)
        found = calibrate_judge(opened, data, rows, parse, attempts, told)
        typer.echo(f"judge {opened.name}: {found.line}")
    finally:
        opened.close()


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="a run folder with MT-Bench answers")],
    out: Annotated[Path, typer.Option("--out", help="where model_answer/ and model_judgment/ are written")],
) -> None:
    """Write a run's answers and judgments as FastChat keeps them."""
    manifest = read_json(run / "manifest.json", "a run folder")
    model = str((manifest.get("recipe") or {}).get("model") or manifest.get("model") or run.name)
    for path in export_fastchat(run, model, out):
        typer.echo(str(path))
