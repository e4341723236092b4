"""`codecard explain`: how much of the difference between two profiles each of their settings makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard import api
from codecard.cli import options as o
from codecard.runs.explain import CompletionMeasurer, Explanation, explain
from codecard.settings import RunConfig, load_profile
from codecard.suites import find_suite


@o.configured("suites", "languages", "workers", "sandbox", "data_dir")
def explain_command(
    *,
    a: Annotated[str, typer.Argument(help="a profile")],
    b: Annotated[str, typer.Argument(help="another profile")],
    files: Annotated[list[Path], typer.Argument(help="run folders or completion files: the same for both")],
    as_json: Annotated[bool, typer.Option("--json", help="steps with their effect on each task")] = False,
    given: dict[str, Any],
) -> None:
    """Score the same completions under two profiles and say which setting makes how much of the difference.

    codecard explain card-2024-03 strict RUN
    """
    config = api.one_suite(RunConfig.merged(None, given | {"profile": a}))
    console = Console(stderr=True)

    def told(text: str) -> None:
        console.print(text, style="dim", highlight=False, markup=False)

    setting, other = api.setting_of(config, say=told), load_profile(b)
    suite = find_suite(config.suites[0])
    measurer = CompletionMeasurer(suite=suite, setting=setting, files=files, told=told)
    first, last = suite.configured(setting.profile), suite.configured(other)
    found = explain((setting.profile.name, other.name), first, last, measurer)
    if as_json:
        typer.echo(json.dumps(explanation_json(found), indent=1, ensure_ascii=False))
    else:
        show_explanation(Console(), found)


def explanation_json(found: Explanation) -> dict[str, object]:
    """Plain values for `--json`; names are a contract."""
    return {
        "a": found.a,
        "b": found.b,
        "samples": found.samples,
        "void": found.voids,
        "first": found.first,
        "last": found.last,
        "total": found.total,
        "steps": [
            {
                "step": step.name,
                "settings": step.settings,
                "delta": step.deltas,
                "gained": [list(sample) for sample in step.gained],
                "lost": [list(sample) for sample in step.lost],
            }
            for step in found.steps
        ],
        "without_effect": list(found.unused),
    }


def show_explanation(console: Console, found: Explanation) -> None:
    """Points of pass@1 by step and task."""
    tasks = list(found.first)
    table = Table(box=None, pad_edge=False)
    for name in ("step", "settings", *(task.split("/")[-1] for task in tasks), "gained", "lost"):
        table.add_column(name, justify="left" if name in ("step", "settings") else "right")
    table.add_row(Text(found.a), "", *(f"{100 * found.first[task]:.2f}" for task in tasks), "", "")
    for step in found.steps:
        deltas = [f"{100 * step.deltas.get(task, 0.0):+.2f}" if step.changed else "" for task in tasks]
        counts = [str(len(step.gained)), str(len(step.lost))] if step.changed else ["", ""]
        table.add_row(step.name, Text(step.settings or "the same in both"), *deltas, *counts)
    table.add_row(Text(found.b), "", *(f"{100 * found.last[task]:.2f}" for task in tasks), "", "")
    table.add_row("difference", "", *(f"{100 * found.total[task]:+.2f}" for task in tasks), "", "")
    console.print(table)
    console.print(Text(f"{found.samples} samples, points of pass@1; each step on top of those above it", style="dim"))
    if found.voids:
        console.print(Text(f"up to {found.voids} samples void: not in these numbers", style="yellow"))
    if found.unused:
        console.print(Text(f"they also differ in how a model is asked: {', '.join(found.unused)}", style="dim"))
