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

from codecard.api import data_folder
from codecard.cli import options as o
from codecard.generate import GenerationRequest, Opening, open_generator
from codecard.model import CodecardError, UsageError
from codecard.runs.planning import Given, Observed, SuitePlan, observe, plan_suite
from codecard.runs.probe import Rate, probe
from codecard.settings import ModelSpec, load_profile
from codecard.suites import card_suites, find_suite, suite_names
from codecard.suites.suite import Asked, Setting

app = typer.Typer(add_completion=False)


@app.command("plan")
def plan_command(
    suite: o.SuiteNames = None,
    profile: o.ProfileName = "card-2024-03",
    languages: o.Languages = None,
    samples: o.Samples = None,
    limit: o.Limit = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, help="0 is greedy: one sample", rich_help_panel=o.HOW)
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="tokens of a completion", rich_help_panel=o.HOW)
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="temperature 0", hidden=True)] = False,
    like: Annotated[Path | None, typer.Option("--like", help="a run whose lengths and rates are taken")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", min=0.001, help="of the whole machine; else --like's")
    ] = None,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="programs at once; default: cores")] = None,
    judge_price_in: Annotated[float | None, typer.Option("--judge-price-in", min=0, help="a million tokens")] = None,
    judge_price_out: Annotated[float | None, typer.Option("--judge-price-out", min=0, help="a million tokens")] = None,
    sets: o.Sets = None,
    data_dir: o.DataDir = None,
    tasks: o.Tasks = None,
    as_json: Annotated[bool, typer.Option("--json", help="a list of suites")] = False,
) -> None:
    """Requests, tokens, time, judge cost, disk and the smallest change a run could detect. Starts nothing.

    With --model the times are those of that model on this machine: it is asked for ten seconds.
    """
    o.use_tasks(tasks)
    parts = o.listed(languages)
    setting = Setting(
        profile=load_profile(str(profile)),
        model=ModelSpec.parse(model) if model else None,
        asked=Asked(samples=samples, temperature=0.0 if greedy else temperature, max_new_tokens=max_new_tokens),
        data_dir=data_folder(data_dir),
        parts=frozenset(parts) if parts is not None else None,
    )
    given_sets = o.parse_sets(sets)
    names = [name.strip() for name in suite.split(",") if name.strip()] if suite else card_suites()
    suites = [find_suite(name) for name in dict.fromkeys(names)]
    chosen = [(found, found.configured(setting.profile, given_sets.get(found.name))) for found in suites]
    rate = None
    if setting.model is not None:
        opening = Opening(dtype=dtype, device=device, batch_size=batch_size, base_url=base_url)
        rate = measured_rate(setting, [found.name for found, _ in chosen], opening)
    plans = []
    for found, options in chosen:
        asking = found.asking(setting, options)
        given = Given(
            samples=asking.samples,
            limit=limit,
            parts=setting.parts,
            tokens_per_second=tokens_per_second,
            rate=rate,
            batch_size=batch_size or 1,
            workers=workers or os.cpu_count() or 1,
            judge_price_in=judge_price_in,
            judge_price_out=judge_price_out,
        )
        observed = observe(like, found.name) if like else Observed()
        plans.append(plan_suite(found, found.lengths(options), given, observed))
    if as_json:
        typer.echo(json.dumps([asdict(plan) for plan in plans], indent=1))
        return
    show_plans(Console(), plans)
    if rate is not None:
        Console().print(
            f"measured with {rate.rows} rows at once in {rate.seconds:.0f} s: {rate.prompt:,.0f} prompt tokens/s, "
            f"{rate.new:,.0f} new tokens/s; a prompt is counted once for all its samples", style="dim", highlight=False,
        )  # fmt: skip


def measured_rate(setting: Setting, wanted: list[str], opening: Opening) -> Rate:
    """Ten seconds with the model, on prompts of these suites, or of another one whose data are at hand."""
    assert setting.model is not None
    requests: list[GenerationRequest] = []
    for name in [*wanted, *suite_names()]:
        found = find_suite(name)
        try:
            requests = requests or found.typical(setting, found.configured(setting.profile))
        except CodecardError:
            continue
    if not requests:
        raise UsageError("no prompts to ask the model with")
    Console(stderr=True).print(f"asking {setting.model.text} for ten seconds …", style="dim", highlight=False)
    generator = open_generator(setting.model, opening)
    try:
        return probe(generator, requests)
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
