"""What a run would take and what it could find out, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codecard.model import UsageError, suite_of
from codecard.runs.probe import Rate
from codecard.runs.reading import Run, read_run
from codecard.stats.paired import detectable_effect
from codecard.stats.reproduction import Settings
from codecard.suites.suite import Lengths, Suite

SPREAD = 0.30
"""Assumed standard deviation of a problem's change between two checkpoints."""
CLUSTERS = 161
"""HumanEval problems behind all languages: pooled languages have no more observations than that."""
POOLED_SHARE = 0.6
"""Assumed ratio of the pooled to the one-language standard error: six languages of the same problems."""
RATING_ERROR, RATED_QUESTIONS = 0.65, 10
"""Error of the mean rating of ten questions, paired (0.4 to 0.9 seen)."""
BYTES_PER_TOKEN, BYTES_PER_ROW, BYTES_PER_DOCUMENT = 4, 1800, 300
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

    samples: int = 1
    limit: int | None = None
    parts: frozenset[str] | None = None
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


def plan_suite(suite: Suite, lengths: Lengths, given: Given, observed: Observed) -> SuitePlan:
    """Requests, tokens, time, money, disk and the smallest change that the run could detect."""
    counts = _counts(lengths, given)
    questions = sum(counts.values())
    if lengths.choices:
        return _likelihoods(suite, lengths, counts, given)
    samples = given.samples if suite.sampled else 1
    requests = questions * samples * lengths.turns
    new = requests * (observed.new_tokens or lengths.new_tokens)
    prompt = observed.prompt_tokens or sum(counts[t] * lengths.prompt_tokens[t] for t in counts) / questions
    judged = requests if lengths.judge_new_tokens else 0
    judge_in, judge_out = judged * lengths.judge_prompt_tokens, judged * lengths.judge_new_tokens
    each = observed.program_seconds or lengths.seconds
    effect, effect_is = _detectable(suite, lengths, counts, samples)
    return SuitePlan(
        suite=suite.name,
        questions=questions,
        requests=requests,
        prompt_tokens=round(requests * prompt),
        new_tokens=round(new),
        new_tokens_at_most=max(round(new), requests * lengths.max_new_tokens),
        # a prompt is read once for all its samples
        generate_s=_seconds(requests // samples * prompt, new, given, observed),
        execute_s=requests * each / given.workers if each else None,
        judge_requests=judged,
        judge_cost=_cost(judge_in, judge_out, given) if judged else None,
        disk_bytes=round((new + judge_out) * BYTES_PER_TOKEN + (requests + judged) * BYTES_PER_ROW),
        detectable=effect,
        detectable_is=effect_is,
    )


def _counts(lengths: Lengths, given: Given) -> dict[str, int]:
    """Questions of each task that the run has."""
    chosen = {
        task: count
        for task, count in lengths.questions.items()
        if given.parts is None or not lengths.parallel or task.split("/")[-1] in given.parts
    }
    if not chosen:
        raise UsageError("the suite has none of these languages")
    return {task: count if given.limit is None else min(count, given.limit) for task, count in chosen.items()}


def observe(run: Path, suite: str) -> Observed:
    """Means over an earlier run's rows of a suite; the rate of a row is taken over all of its suites."""
    data: Run = read_run(run)
    turns = [turn for history in data.histories.values() for turn in history]
    counted = [turn for turn in turns if turn.new_tokens is not None]
    timed = [turn for turn in counted if turn.seconds]
    rows = [turn for turn in counted if suite_of(turn.task) == suite]
    prompts = [turn.prompt_tokens for turn in rows if turn.prompt_tokens is not None]
    executed = [outcome.facts for key, outcome in data.outcomes.items() if suite_of(key[0]) == suite]
    seconds = [float(facts["wall_s"]) for facts in executed if facts.get("wall_s") is not None]
    if not counted:
        raise UsageError(f"{run}: no token counts to plan from")
    return Observed(
        prompt_tokens=sum(prompts) / len(prompts) if prompts else None,
        new_tokens=sum(turn.new_tokens or 0 for turn in rows) / len(rows) if rows else None,
        row_rate=sum(t.new_tokens or 0 for t in timed) / sum(t.seconds or 0.0 for t in timed) if timed else None,
        program_seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def _likelihoods(suite: Suite, lengths: Lengths, counts: Mapping[str, int], given: Given) -> SuitePlan:
    requests = sum(counts[task] * lengths.choices[task] for task in counts)
    tokens = sum(counts[task] * lengths.choices[task] * lengths.prompt_tokens[task] for task in counts)
    smallest = min(counts.values())
    rate = given.tokens_per_second or (given.rate.prompt if given.rate else None)
    return SuitePlan(
        suite=suite.name,
        questions=sum(counts.values()),
        requests=requests,
        prompt_tokens=round(tokens),
        new_tokens=0,
        new_tokens_at_most=0,
        generate_s=tokens / rate if rate else None,
        execute_s=None,
        judge_requests=0,
        judge_cost=None,
        disk_bytes=sum(counts.values()) * BYTES_PER_DOCUMENT,
        detectable=detectable_effect(SPREAD / math.sqrt(smallest), smallest - 1),
        detectable_is=f"{lengths.detectable} on the smallest task ({smallest} {suite.counts}), paired",
        notes=("nothing is generated: the rate is that of prompt tokens",),
    )


def _detectable(suite: Suite, lengths: Lengths, counts: Mapping[str, int], samples: int) -> tuple[float | None, str]:
    """Smallest true change found in 80 % of paired comparisons at 5 %, all tasks pooled.

    Sampling adds the noise of both runs to the assumed spread of real changes.
    """
    questions = sum(counts.values())
    if suite.scale is not None:
        error = RATING_ERROR * math.sqrt(RATED_QUESTIONS / questions)
        said = "points of rating between two models (paired by question; error 0.4 to 0.9 seen, 0.65 assumed)"
        return detectable_effect(error, questions - 1), said
    noise = 2 * Settings().assumed_spread / samples if suite.sampled else 0.0
    pooled = lengths.parallel and len(counts) > 1
    clusters = max(2, min(CLUSTERS, math.ceil(questions / len(counts)) if lengths.parallel else questions))
    se = math.sqrt((SPREAD**2 + noise) / clusters) * (POOLED_SHARE if pooled else 1.0)
    over = "all languages pooled" if pooled else "all tasks pooled" if len(counts) > 1 else "one task"
    effect = detectable_effect(se, clusters - 1)
    if effect is not None and effect > 1:
        return None, f"{lengths.detectable}: too few questions to detect any change"
    return effect, f"{lengths.detectable}, {over}, paired with a run of the same size"


def _cost(tokens_in: float, tokens_out: float, given: Given) -> float | None:
    if given.judge_price_in is None or given.judge_price_out is None:
        return None
    return (tokens_in * given.judge_price_in + tokens_out * given.judge_price_out) / 1e6


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
