"""What a run would take and what it could find out, before anything is started."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import UsageError
from codecard.pipeline.probe import Rate
from codecard.score.paired import detectable_effect
from codecard.score.reproduction import Settings
from codecard.score.suites import suite_of
from codecard.store.outcomes import read_run
from codecard.tasks.definitions import CODE_SUITES, code_tasks
from codecard.tasks.paths import tasks_dir
from codecard.tasks.zero_shot import load_tasks

SPREAD = 0.30
"""Assumed standard deviation of a problem's change between two checkpoints."""
CLUSTERS = 161
"""HumanEval problems behind all languages: pooled languages have no more observations than that."""
POOLED_SHARE = 0.6
"""Assumed ratio of the pooled to the one-language standard error: six languages of the same problems."""
BYTES_PER_TOKEN, BYTES_PER_ROW = 4, 1800
"""Of a completion's text, and of the journals' other fields with the program (measured: 1.5 to 2 KB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an earlier run tells: tokens of prompts and completions, tokens a second of one row, program seconds."""

    prompt_tokens: float | None = None
    new_tokens: float | None = None
    row_rate: float | None = None
    program_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user knows. Prices are per million tokens, in any currency; `rate` was measured on the model at hand."""

    samples: int
    limit: int | None = None
    tokens_per_second: float | None = None
    rate: Rate | None = None
    batch_size: int = 1
    workers: int = 1
    judge_price_in: float | None = None
    judge_price_out: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlan:
    """One suite's share. Times in seconds, None where no rate is known; effects in the suite's own unit."""

    suite: str
    questions: int
    requests: int
    prompt_tokens: int
    new_tokens: int
    new_tokens_at_most: int
    generate_s: float | None
    execute_s: float | None
    judge_requests: int
    judge_cost: float | None
    disk_bytes: int
    detectable: float | None
    detectable_is: str
    notes: tuple[str, ...] = ()


def plan_suite(suite: str, given: Given, observed: Observed) -> SuitePlan:
    """Requests, tokens, time, money, disk and the smallest change that the run could detect."""
    lengths = _lengths()[suite]
    if suite in CODE_SUITES:
        return _code(suite, lengths, given, observed)
    if suite == "sql":
        sizes = {name: _limited(count, given) for name, count in lengths["questions"].items()}
        return _generated(suite, sum(sizes.values()), 1, lengths, given, observed)
    if suite == "mt_bench":
        return _judged(suite, lengths, given, observed)
    return _likelihoods(suite, lengths, given)


def observe(run: Path, suite: str) -> Observed:
    """Means over an earlier run's rows of a suite; the rate of a row is taken over all of its suites."""
    data = read_run(run)
    counted = [c for c in data.completions.values() if c.new_tokens is not None]
    timed = [c for c in counted if c.seconds]
    rows = [c for c in counted if suite_of(c.task) == suite]
    prompts = [c.prompt_tokens for c in rows if c.prompt_tokens is not None]
    executed = [row for row in data.executions.values() if suite_of(row["task"]) == suite]
    seconds = [float(row["wall_s"]) for row in executed if row.get("wall_s") is not None]
    if not counted:
        raise UsageError(f"{run}: no token counts to plan from")
    return Observed(
        prompt_tokens=sum(prompts) / len(prompts) if prompts else None,
        new_tokens=sum(c.new_tokens or 0 for c in rows) / len(rows) if rows else None,
        row_rate=sum(c.new_tokens or 0 for c in timed) / sum(c.seconds or 0.0 for c in timed) if timed else None,
        program_seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def _lengths() -> dict[str, dict[str, Any]]:
    return tomllib.loads((tasks_dir() / "planning.toml").read_text(encoding="utf-8"))


def _code(suite: str, lengths: Mapping[str, Any], given: Given, observed: Observed) -> SuitePlan:
    counts = {task.language: _limited(task.count, given) for task in code_tasks(suite)}
    prompt = sum(counts[name] * lengths["prompt_tokens"][name] for name in counts) / sum(counts.values())
    return _generated(suite, sum(counts.values()), given.samples, {**lengths, "prompt_tokens": prompt}, given, observed)


def _generated(
    suite: str, questions: int, samples: int, lengths: Mapping[str, Any], given: Given, observed: Observed
) -> SuitePlan:
    requests = questions * samples
    new = requests * (observed.new_tokens or lengths["new_tokens"])
    each = observed.program_seconds or lengths["seconds_per_program"]
    prompt = observed.prompt_tokens or lengths["prompt_tokens"]
    effect, effect_is = _detectable(suite, questions, samples)
    return SuitePlan(
        suite=suite,
        questions=questions,
        requests=requests,
        prompt_tokens=round(requests * prompt),
        new_tokens=round(new),
        new_tokens_at_most=max(round(new), requests * lengths["max_new_tokens"]),
        generate_s=_seconds(questions * prompt, new, given, observed),
        execute_s=requests * each / given.workers,
        judge_requests=0,
        judge_cost=None,
        disk_bytes=round(new * BYTES_PER_TOKEN + requests * BYTES_PER_ROW),
        detectable=effect,
        detectable_is=effect_is,
    )


def _judged(suite: str, lengths: Mapping[str, Any], given: Given, observed: Observed) -> SuitePlan:
    questions = _limited(lengths["questions"], given)
    requests = questions * lengths["turns"]
    prompt = observed.prompt_tokens or lengths["prompt_tokens"]
    new = requests * (observed.new_tokens or lengths["new_tokens"])
    judge_in, judge_out = requests * lengths["judge_prompt_tokens"], requests * lengths["judge_new_tokens"]
    cost = None
    if given.judge_price_in is not None and given.judge_price_out is not None:
        cost = (judge_in * given.judge_price_in + judge_out * given.judge_price_out) / 1e6
    sd = 0.65 * math.sqrt(10 / questions)
    return SuitePlan(
        suite=suite,
        questions=questions,
        requests=requests,
        prompt_tokens=round(requests * prompt),
        new_tokens=round(new),
        new_tokens_at_most=requests * lengths["max_new_tokens"],
        generate_s=_seconds(requests * prompt, new, given, observed),
        execute_s=None,
        judge_requests=requests,
        judge_cost=cost,
        disk_bytes=round((new + judge_out) * BYTES_PER_TOKEN + 2 * requests * BYTES_PER_ROW),
        detectable=detectable_effect(sd, questions - 1),
        detectable_is="points of rating between two models (paired by question; error 0.4 to 0.9 seen, 0.65 assumed)",
    )


def _likelihoods(suite: str, lengths: Mapping[str, Any], given: Given) -> SuitePlan:
    tasks = load_tasks(tasks_dir() / suite)
    counts = {task.name: _limited(task.count, given) for task in tasks}
    requests = sum(counts[name] * lengths["choices"][name] for name in counts)
    smallest = min(counts.values())
    rate = given.tokens_per_second or (given.rate.prompt if given.rate else None)
    return SuitePlan(
        suite=suite,
        questions=sum(counts.values()),
        requests=requests,
        prompt_tokens=requests * lengths["prompt_tokens"],
        new_tokens=0,
        new_tokens_at_most=0,
        generate_s=requests * lengths["prompt_tokens"] / rate if rate else None,
        execute_s=None,
        judge_requests=0,
        judge_cost=None,
        disk_bytes=sum(counts.values()) * 300,
        detectable=detectable_effect(SPREAD / math.sqrt(smallest), smallest - 1),
        detectable_is=f"accuracy on the smallest task ({smallest} documents), paired",
        notes=("nothing is generated: the rate is that of prompt tokens",),
    )


def _detectable(suite: str, questions: int, samples: int) -> tuple[float | None, str]:
    """Smallest true change of pass@1 found in 80 % of paired comparisons at 5 %, all languages pooled.

    Sampling (the code suites; the others are asked greedily) adds the noise of both runs to the assumed
    spread of real changes.
    """
    noise = 2 * Settings().assumed_spread / samples if suite in CODE_SUITES else 0.0
    languages = 6 if suite in CODE_SUITES else 1
    clusters = max(2, min(CLUSTERS, math.ceil(questions / languages)))
    se = math.sqrt((SPREAD**2 + noise) / clusters) * (POOLED_SHARE if languages > 1 else 1.0)
    over = "all languages pooled" if languages > 1 else "all categories pooled"
    return detectable_effect(se, clusters - 1), f"pass@1, {over}, paired with a run of the same size"


def _limited(count: int, given: Given) -> int:
    return count if given.limit is None else min(count, given.limit)


def _seconds(prompt: float, new: float, given: Given, observed: Observed) -> float | None:
    """Time to read `prompt` tokens, once for all samples of a problem, and to write `new` ones.

    At the rate given for the whole machine, which covers both, at the measured one, or at an earlier run's row's
    times the batch size.
    """
    rate = given.tokens_per_second
    if rate is None and given.rate is not None:
        return prompt / given.rate.prompt + new / given.rate.new
    if rate is None and observed.row_rate is not None:
        rate = observed.row_rate * given.batch_size
    return new / rate if rate else None
