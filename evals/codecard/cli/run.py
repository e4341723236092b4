"""`codecard run` and `codecard score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from codecard import api
from codecard.cli import options as o
from codecard.report.stages import stages_text
from codecard.report.terminal import TerminalWatcher, asked_lines, show_run
from codecard.runs.reading import Run
from codecard.settings import RunConfig, load_profile

INCOMPLETE = 3


@o.configured(*RunConfig.model_fields)
@o.with_suite_flags
def run_command(*, config: o.Config = None, given: dict[str, Any], flags: dict[str, Any]) -> None:
    """Ask a model, judge what it wrote, score it, and write the run folder; on the same folder again: resume.

    codecard run --model hf:ORG/NAME --suite NAME --out RUN
    """
    resolved = _with_flags(RunConfig.merged(config, given), flags)
    with TerminalWatcher(Console(stderr=True)) as watcher:
        done = api.run_config(resolved, watcher, o.arguments())
    finish(done)


@o.configured(*RunConfig.model_fields)
@o.with_suite_flags
def check_command(*, config: o.Config = None, given: dict[str, Any], flags: dict[str, Any]) -> None:
    """What `run` would refuse before it opens anything, for a run in shards that waits in a queue first.

    Whether the model and the data are there is for the machine to tell that runs it.
    """
    resolved = _with_flags(RunConfig.merged(config, given), flags)
    api.named_model(resolved)
    api.suites_of(resolved, load_profile(resolved.profile), split=True)


@o.configured("suites", "profile", "languages", "out", "workers", "set", "sandbox", "data_dir")
@o.with_suite_flags
def score_command(
    *,
    files: Annotated[list[Path], typer.Argument(help="completions: .jsonl, .json, .json.gz, .csv, or a run folder")],
    config: o.Config = None,
    given: dict[str, Any],
    flags: dict[str, Any],
) -> None:
    """Judge and score completions made elsewhere; needs no model.

    codecard score completions.jsonl --suite NAME --out RUN
    """
    resolved = api.one_suite(RunConfig.merged(config, given))
    with TerminalWatcher(Console(stderr=True)) as watcher:
        done = api.score_config(_with_flags(resolved, flags), files, watcher, o.arguments())
    finish(done)


def _with_flags(config: RunConfig, flags: dict[str, Any]) -> RunConfig:
    sets = {suite: dict(values) for suite, values in config.set.items()}
    for suite, values in o.sets_of_flags(flags, config.suites).items():
        sets[suite] = values | sets.get(suite, {})
    return config.model_copy(update={"set": sets})


def finish(run: Run) -> None:
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
