"""`codecard plan`: what a run would take and could find out; starts nothing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard.model import PromptStyle, UsageError
from codecard.pipeline.planning import Given, Observed, SuitePlan, observe, plan_suite
from codecard.pipeline.probe import Rate, probe
from codecard.tasks.code import load_problems
from codecard.tasks.definitions import CODE_SUITES, code_tasks, load_profile, unknown

SUITES = (*CODE_SUITES, "sql", "mt_bench", "zero_shot")


def plan_command(
    suite: Annotated[str, typer.Option("--suite", help=f"{', '.join(SUITES)}; several with commas")] = (
        "multipl_e,sql,mt_bench,zero_shot"
    ),
    profile: Annotated[str, typer.Option("--profile", help="whose number of samples is taken")] = "card-2024-03",
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="per problem")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="problems of each task")] = None,
    like: Annotated[Path | None, typer.Option("--like", help="a run whose lengths and rates are taken")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", min=0.001, help="of the whole machine; else --like's")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="as of codecard run: asked for ten seconds, for its own rates")
    ] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="server of openai:NAME")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="with --model")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="rows at once: --model's, or with --like's rate a row")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="programs at once; default: cores")] = None,
    judge_price_in: Annotated[float | None, typer.Option("--judge-price-in", min=0, help="a million tokens")] = None,
    judge_price_out: Annotated[float | None, typer.Option("--judge-price-out", min=0, help="a million tokens")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a list of suites")] = False,
) -> None:
    """Requests, tokens, time, judge cost, disk and the smallest change a run could detect. Starts nothing.

    With --model the times are those of that model on this machine.
    """
    names = [name.strip() for name in suite.split(",") if name.strip()]
    for name in names:
        if name not in SUITES:
            raise UsageError(unknown("suite", name, list(SUITES)))
    rate = measured_rate(model, dtype=dtype, batch_size=batch_size, base_url=base_url) if model else None
    given = Given(
        samples=samples or load_profile(profile).samples,
        limit=limit,
        tokens_per_second=tokens_per_second,
        rate=rate,
        batch_size=batch_size or 1,
        workers=workers or os.cpu_count() or 1,
        judge_price_in=judge_price_in,
        judge_price_out=judge_price_out,
    )
    plans = [plan_suite(name, given, observe(like, name) if like else Observed()) for name in dict.fromkeys(names)]
    if as_json:
        typer.echo(json.dumps([asdict(plan) for plan in plans], indent=1))
        return
    show_plans(Console(), plans)
    if rate is not None:
        Console().print(
            f"measured with {rate.rows} rows at once in {rate.seconds:.0f} s: {rate.prompt:,.0f} prompt tokens/s, "
            f"{rate.new:,.0f} new tokens/s; a prompt is counted once for all its samples", style="dim", highlight=False,
        )  # fmt: skip


def measured_rate(model: str, *, dtype: str | None, batch_size: int | None, base_url: str | None) -> Rate:
    """Ten seconds with the model, on the prompts of the starter suite."""
    from codecard.generate import open_generator

    profile = load_profile("card-2024-03")
    problems = [p for task in code_tasks("starter") for p in load_problems(task, profile, None)[0]]
    Console(stderr=True).print(f"asking {model} for ten seconds …", style="dim", highlight=False)
    generator = open_generator(model, dtype=dtype, batch_size=batch_size, base_url=base_url)
    try:
        return probe(generator, problems, PromptStyle.CHAT if model == "embedded" else PromptStyle.RAW)
    finally:
        generator.close()


def show_plans(console: Console, plans: list[SuitePlan]) -> None:
    """A column a suite."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for plan in plans:
        table.add_column(plan.suite, justify="right")
    rows = {
        "questions": [f"{plan.questions:,}" for plan in plans],
        "requests": [f"{plan.requests:,}" for plan in plans],
        "prompt tokens": [f"{plan.prompt_tokens:,}" for plan in plans],
        "new tokens": [f"{plan.new_tokens:,}" for plan in plans],
        "… at most": [f"{plan.new_tokens_at_most:,}" for plan in plans],
        "generation": [duration(plan.generate_s) for plan in plans],
        "execution": [duration(plan.execute_s) if plan.execute_s is not None else "–" for plan in plans],
        "judge requests": [f"{plan.judge_requests:,}" if plan.judge_requests else "–" for plan in plans],
        "judge cost": [_cost(plan) for plan in plans],
        "disk": [f"{plan.disk_bytes / 1e6:,.1f} MB" for plan in plans],
        "detectable": [f"{plan.detectable:.3f}" if plan.detectable is not None else "–" for plan in plans],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)
    for plan in plans:
        for note in (f"detectable: {plan.detectable_is}", *plan.notes):
            console.print(Text(f"{plan.suite}: {note}", style="dim"))


def duration(seconds: float | None) -> str:
    """`3 h 20 min`, or what is missing."""
    if seconds is None:
        return "rate unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _cost(plan: SuitePlan) -> str:
    if not plan.judge_requests:
        return "–"
    return "price unknown" if plan.judge_cost is None else f"{plan.judge_cost:.2f}"
