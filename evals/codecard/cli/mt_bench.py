"""Options and commands that belong to MT-Bench alone: judging, calibration, FastChat's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codecard.model import UsageError
from codecard.pipeline import RunPlan
from codecard.pipeline.mt_bench import SUITE, MtBenchOptions, MtBenchOutcome, Session, run_mt_bench, score_answers
from codecard.pipeline.mt_bench_recorded import (
    calibrate_judge,
    export_fastchat,
    known_calibration,
    score_recording,
)
from codecard.report.mt_bench_tables import show_mt_bench
from codecard.report.terminal import TerminalWatcher
from codecard.store import write_text
from codecard.tasks.fastchat import is_answer_file, read_answers, read_judgments, recording
from codecard.tasks.paths import data_dir as default_data_dir

JudgeName = Annotated[
    str | None, typer.Option("--judge", help="mt_bench: openai:NAME, hf:ORG/NAME, a folder, embedded, replay:FILE")
]
JudgeUrl = Annotated[
    str | None, typer.Option("--judge-base-url", help="mt_bench: the judge's server; its key is OPENAI_API_KEY")
]
JudgeAttempts = Annotated[
    int, typer.Option("--judge-attempts", min=1, help="mt_bench: tries for a judgment that holds no rating")
]
JudgeTokens = Annotated[
    int | None, typer.Option("--judge-max-new-tokens", min=1, help="mt_bench: default 2048, the protocol's")
]
JudgedModel = Annotated[
    str | None, typer.Option("--judged-model", help="mt_bench: the model, where a file holds several; NAME#2: its run")
]
References = Annotated[
    Path | None, typer.Option("--references", help="mt_bench: another file of reference answers, e.g. corrected ones")
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="mt_bench: score without the missing ratings")]
FastchatRegex = Annotated[
    bool, typer.Option("--fastchat-regex", help="mt_bench: read ratings as FastChat does, bare brackets too")
]
System = Annotated[str, typer.Option("--system", help="mt_bench: a system message for the model; default: none")]

judge = typer.Typer(help="Judges and judgments of MT-Bench.", no_args_is_help=True)

CANNOT_TELL = 4


def open_session(options: MtBenchOptions, data_dir: Path | None, limit: int | None = None) -> Session:
    data = data_dir or default_data_dir()
    if data is not None and not data.is_dir():
        raise UsageError(f"no data folder {data}")
    if options.judge_base_url is not None and not (options.judge or "").startswith("openai:"):
        raise UsageError("--judge-base-url belongs to --judge openai:NAME")
    return Session(options, data_dir=data, limit=limit)


def run_suite(plan: RunPlan, options: MtBenchOptions, data_dir: Path | None, opening: Mapping[str, object]) -> None:
    """`codecard run --suite mt_bench`. `opening`: what `open_generator` is given besides the model."""
    if plan.suites != (SUITE,):
        raise UsageError("--suite mt_bench is asked greedily, in two turns: run it by itself")
    from codecard.generate import open_generator

    session = open_session(options, data_dir, plan.limit)
    console = Console(stderr=True)
    try:
        with TerminalWatcher(console) as watcher:
            generator = open_generator(str(plan.model), **opening)  # type: ignore[arg-type]
            label = str(generator.fingerprint().get("model", plan.model))
            try:
                found = run_mt_bench(plan, session, generator, watcher)
            finally:
                generator.close()
        _finish(plan, session, label, found)
    finally:
        session.close()


def score_suite(
    plan: RunPlan, files: list[Path], options: MtBenchOptions, data_dir: Path | None, model: str | None
) -> None:
    """`codecard score FILE --suite mt_bench`: FastChat's judgments, or answers for a judge."""
    if len(files) != 1:
        raise UsageError("--suite mt_bench scores one file at a time")
    answered = is_answer_file(files[0])
    if answered and options.judge is None:
        raise UsageError(f"{files[0]} holds answers; name a judge for them with --judge")
    # A file of judgments has its judge; --judge then says which, where it holds several.
    session = open_session(options if answered else replace(options, judge=None), data_dir)
    try:
        with TerminalWatcher(Console(stderr=True)) as watcher:
            if answered:
                label, answers = read_answers(files[0], session.data)
                found = score_answers(replace(plan, model=label), session, answers, watcher)
            else:
                rows = read_judgments(files[0], session.data)
                recorded = recording(rows, files[0], model, options.judge)
                label = recorded.model
                found = score_recording(plan, session, recorded, watcher)
        _finish(plan, session, label, found)
    finally:
        session.close()


def _finish(plan: RunPlan, session: Session, label: str, found: MtBenchOutcome) -> None:
    if session.judge is not None and (known := known_calibration(session.judge)) is not None:
        found.notes.append(f"judge {found.judge}: {known.line}")
    write_text(plan.out / "tables.md", show_mt_bench(Console(), label, found))
    Console(stderr=True).print(f"run folder: {plan.out}", style="dim", highlight=False)
    if found.judge and found.refused and not session.options.allow_missing:
        raise typer.Exit(CANNOT_TELL)


@judge.command("calibrate")
def calibrate_command(
    recorded: Annotated[Path, typer.Argument(help="a model_judgment file, e.g. gpt-4_single.jsonl")],
    judge_name: Annotated[str, typer.Option("--judge", help="the judge to be calibrated")],
    base_url: JudgeUrl = None,
    attempts: JudgeAttempts = 1,
    max_new_tokens: JudgeTokens = None,
    fastchat_regex: FastchatRegex = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="benchmark data; default: CODECARD_DATA")] = None,
) -> None:
    """Put recorded prompts to another judge: agreement, bias and its interval. Kept for later scores."""
    options = MtBenchOptions(
        judge=judge_name,
        judge_base_url=base_url,
        judge_attempts=attempts,
        judge_max_new_tokens=max_new_tokens,
        reference_parser=fastchat_regex,
    )
    session = open_session(options, data_dir)
    try:
        rows = read_judgments(recorded, session.data)
        with TerminalWatcher(Console(stderr=True)) as watcher:
            found = calibrate_judge(session, rows, watcher)
        assert session.judge is not None
        typer.echo(f"judge {session.judge.name}: {found.line}")
    finally:
        session.close()


@judge.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="a run folder with MT-Bench answers")],
    out: Annotated[Path, typer.Option("--out", help="where model_answer/ and model_judgment/ are written")],
) -> None:
    """Write a run's answers and judgments as FastChat keeps them."""
    for path in export_fastchat(run, out):
        typer.echo(str(path))
