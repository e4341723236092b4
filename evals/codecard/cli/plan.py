"""`codecard plan`: what a run would take and could find out; starts nothing."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codecard import api
from codecard.cli import options as o
from codecard.generate import GenerationRequest, Opening, open_generator
from codecard.model import CodecardError, UsageError
from codecard.runs.planning import Given, Observed, SuitePlan, observe, plan_suite
from codecard.runs.probe import Rate, probe
from codecard.settings import RunConfig
from codecard.suites import card_suites, find_suite, suite_names
from codecard.suites.suite import Setting, Suite

ASKED = (
    "suites", "profile", "languages", "samples", "limit", "temperature", "max_new_tokens", "model", "base_url", "dtype",
    "device", "batch_size", "workers", "set", "data_dir",
)  # fmt: skip


@o.configured(*ASKED)
def plan_command(
    *,
    like: Annotated[Path | None, typer.Option("--like", help="a run whose lengths and rates are taken")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", min=0.001, help="of the whole machine; else --like's")
    ] = None,
    judge_price_in: Annotated[float | None, typer.Option("--judge-price-in", min=0, help="a million tokens")] = None,
    judge_price_out: Annotated[float | None, typer.Option("--judge-price-out", min=0, help="a million tokens")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a list of suites")] = False,
    given: dict[str, Any],
) -> None:
    """Requests, tokens, time, judge cost, disk and the smallest change a run could detect. Starts nothing.

    With --model the times are those of that model on this machine: it is asked for ten seconds.
    """
    config = RunConfig.merged(None, given)
    setting = api.setting_of(config)
    config = config if config.suites else config.model_copy(update={"suites": card_suites()})
    chosen = api.suites_of(config, setting.profile)
    rate = None
    if setting.model is not None:
        rate = measured_rate(setting, [found for found, _ in chosen], api.opening_of(config))
    known = Given(
        limit=config.limit,
        parts=setting.parts,
        tokens_per_second=tokens_per_second,
        rate=rate,
        batch_size=config.batch_size or 1,
        workers=setting.workers or os.cpu_count() or 1,
        judge_price_in=judge_price_in,
        judge_price_out=judge_price_out,
    )
    plans = []
    for found, options in chosen:
        observed = observe(like, found.name) if like else Observed()
        samples = found.asking(setting, options).samples
        plans.append(plan_suite(found, found.lengths(options), replace(known, samples=samples), observed))
    if as_json:
        typer.echo(json.dumps([asdict(plan) for plan in plans], indent=1))
        return
    show_plans(Console(), plans)
    if rate is not None:
        Console().print(
            f"measured with {rate.rows} rows at once in {rate.seconds:.0f} s: {rate.prompt:,.0f} prompt tokens/s, "
            f"{rate.new:,.0f} new tokens/s; a prompt is counted once for all its samples", style="dim", highlight=False,
        )  # fmt: skip


def measured_rate(setting: Setting, wanted: list[Suite], opening: Opening) -> Rate:
    """Ten seconds with the model, on prompts of these suites, or of another one whose data are at hand."""
    assert setting.model is not None
    requests: list[GenerationRequest] = []
    for found in [*wanted, *map(find_suite, suite_names())]:
        with contextlib.suppress(CodecardError):
            requests = requests or found.typical(setting, found.configured(setting.profile))
    if not requests:
        raise UsageError("no prompts to ask the model with")
    Console(stderr=True).print(f"asking {setting.model.text} for ten seconds …", style="dim", highlight=False)
    with contextlib.closing(open_generator(setting.model, opening)) as generator:
        return probe(generator, requests)


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
