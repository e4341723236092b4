"""`codecard run` and `codecard score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from codecard import api
from codecard.cli import options as o
from codecard.model import UsageError
from codecard.report.stages import stages_text
from codecard.report.terminal import TerminalWatcher, asked_lines, show_run
from codecard.runs.reading import RunData
from codecard.settings import RunConfig

INCOMPLETE = 3
run_app = typer.Typer(add_completion=False, rich_markup_mode="rich")
score_app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@run_app.command("run", epilog=o.MORE)
@o.with_suite_flags
def run_command(
    *,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    suite: o.SuiteNames = None,
    profile: o.ProfileName = None,
    languages: o.Languages = None,
    limit: o.Limit = None,
    samples: o.Samples = None,
    prompt_style: Annotated[
        str | None, typer.Option("--prompt-style", help="raw or chat", rich_help_panel=o.HOW)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, help="0 is greedy", rich_help_panel=o.HOW)
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="tokens of a completion", rich_help_panel=o.HOW)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the sampling", rich_help_panel=o.HOW)] = None,
    out: o.Out = None,
    workers: o.WorkersOption = None,
    config: o.Config = None,
    sets: o.Sets = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="temperature 0", hidden=True)] = False,
    shard: Annotated[
        str | None, typer.Option("--shard", help="INDEX/COUNT: only this part of the problems", hidden=True)
    ] = None,
    sandbox: o.SandboxName = None,
    data_dir: o.DataDir = None,
    tasks: o.Tasks = None,
    flags: dict[str, Any],
) -> None:
    """Ask a model, judge what it wrote, score it, and write the run folder; on the same folder again: resume.

    codecard run --model hf:ORG/NAME --suite multipl_e --out RUN
    """
    o.use_tasks(tasks)
    if greedy and temperature:
        raise UsageError(f"--greedy is temperature 0, and --temperature {temperature:g} is given")
    if samples is not None and samples < 1:
        raise UsageError(f"--samples {samples}: at least 1")
    given = {
        "model": model, "base_url": base_url, "dtype": dtype, "device": device, "batch_size": batch_size,
        "suites": _names(suite), "profile": profile, "languages": o.listed(languages), "limit": limit,
        "samples": samples, "shard": shard, "prompt_style": prompt_style,
        "temperature": 0.0 if greedy else temperature, "max_new_tokens": max_new_tokens, "seed": seed,
        "out": str(out) if out else None, "workers": workers, "sandbox": sandbox,
        "data_dir": str(data_dir) if data_dir else None, "set": o.parse_sets(sets),
    }  # fmt: skip
    resolved = _with_flags(RunConfig.merged(config, given), flags)
    with TerminalWatcher(Console(stderr=True)) as watcher:
        done = api.run_config(resolved, watcher, o.arguments())
    finish(done)


@score_app.command("score", epilog=o.MORE)
@o.with_suite_flags
def score_command(
    *,
    files: Annotated[list[Path], typer.Argument(help="completions: .jsonl, .json, .json.gz, .csv, or a run folder")],
    suite: o.SuiteNames = "multipl_e",
    profile: o.ProfileName = None,
    languages: o.Languages = None,
    out: o.Out = None,
    workers: o.WorkersOption = None,
    sets: o.Sets = None,
    sandbox: o.SandboxName = None,
    data_dir: o.DataDir = None,
    tasks: o.Tasks = None,
    language: o.OldLanguage = None,
    flags: dict[str, Any],
) -> None:
    """Judge and score completions made elsewhere; needs no model.

    codecard score completions.jsonl --suite multipl_e --out RUN
    """
    o.use_tasks(tasks)
    o.renamed("--language", "--languages", language)
    given = {
        "suites": _names(suite), "profile": profile, "languages": o.listed(languages or language),
        "out": str(out) if out else None, "workers": workers, "sandbox": sandbox,
        "data_dir": str(data_dir) if data_dir else None, "set": o.parse_sets(sets),
    }  # fmt: skip
    resolved = _with_flags(RunConfig.merged(None, given), flags)
    with TerminalWatcher(Console(stderr=True)) as watcher:
        done = api.score_config(resolved, files, watcher, o.arguments())
    finish(done)


def _names(suite: str | None) -> list[str] | None:
    return [name.strip() for name in suite.split(",") if name.strip()] if suite is not None else None


def _with_flags(config: RunConfig, flags: dict[str, Any]) -> RunConfig:
    sets = {suite: dict(values) for suite, values in config.set.items()}
    for suite, values in o.sets_of_flags(flags, config.suites).items():
        sets[suite] = values | sets.get(suite, {})
    return config.model_copy(update={"set": sets})


def finish(run: RunData) -> None:
    """Show the tables and what must be known with them; exit 3 where a planned number is not there."""
    console = Console(stderr=True)
    show_run(Console(), run)
    for line in asked_lines(run):
        console.print(line, style="dim", highlight=False)
    if stages := stages_text(run.stages):
        console.print(f"stages: {stages}", style="dim", highlight=False)
    console.print(
        f"profile {run.manifest.profile.get('name')}; run folder: {run.path}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    if run.missing:
        console.print(Text(f"codecard: not every planned number is there: {run.missing}", style="red"), soft_wrap=True)
        raise typer.Exit(INCOMPLETE)
