"""`codecard run` and `codecard score`."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codecard.cli.mt_bench import (
    AllowMissing,
    FastchatRegex,
    JudgeAttempts,
    JudgedModel,
    JudgeName,
    JudgeTokens,
    JudgeUrl,
    References,
    System,
    run_suite,
    score_suite,
)
from codecard.cli.sql import (
    AsOf,
    DatabaseUrl,
    NumColumns,
    Robust,
    SqlOptions,
    SqlPrompt,
    SqlVersion,
    arguments,
    show_sql,
    sql_asking,
    sql_plan,
    sql_works,
)
from codecard.cli.workers import WorkersOption, open_box, open_cluster
from codecard.cli.zero_shot import run_suite as run_zero_shot_suite
from codecard.cluster import Cluster, Workers, parse_workers
from codecard.model import LANGUAGES, PromptStyle, Sampling, UsageError
from codecard.pipeline import Asking, Evaluator, Outcome, RunPlan, Work, run, score_works
from codecard.pipeline.code import CodeEvaluator
from codecard.pipeline.mt_bench import SUITE as MT_BENCH
from codecard.pipeline.mt_bench import MtBenchOptions
from codecard.pipeline.sharding import parse_shard
from codecard.pipeline.sql import SUITE as SQL_SUITE
from codecard.pipeline.sql import SqlEvaluator, SqlPlan
from codecard.report.stages import stages_text
from codecard.report.terminal import TerminalWatcher, markdown_table, remarks, show_outcome
from codecard.store import write_text
from codecard.tasks.definitions import CODE_SUITES, Profile, load_profile, unknown
from codecard.tasks.paths import data_dir as default_data_dir
from codecard.tasks.zero_shot import SUITE as ZERO_SHOT

SUITES = (*CODE_SUITES, SQL_SUITE, MT_BENCH, ZERO_SHOT)

_MODELS = "hf:ORG/NAME[@REV], a folder, embedded, vllm: and any of these, openai:NAME, lm-eval:TYPE[,ARGS], replay:FILE"
Model = Annotated[str, typer.Option("--model", help=_MODELS)]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="server of openai:NAME; its key is OPENAI_API_KEY")]
Suite = Annotated[str, typer.Option("--suite", help=f"{', '.join(SUITES)}; several with commas")]
ProfileName = Annotated[str, typer.Option("--profile", help="the protocol: card-2024-03 or strict")]
Out = Annotated[Path | None, typer.Option("--out", help="the run folder; default: results/runs/<model>-<time>")]
SandboxName = Annotated[str | None, typer.Option("--sandbox", help="docker or bwrap; default: docker where it runs")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="benchmark data; default: CODECARD_DATA, or the Hub")]
EXECUTORS = ("warm", "plain")
ExecutorName = Annotated[str, typer.Option("--executor", help="warm, or plain: the reference's own commands")]
Languages = Annotated[str | None, typer.Option("--languages", help="py,cpp,js,java,php,rs; default: all")]
ShardName = Annotated[str | None, typer.Option("--shard", help="INDEX/COUNT: only this part of the problems")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="only the first N problems of each task")]


def run_command(
    model: Model,
    suite: Suite,
    profile: ProfileName = "card-2024-03",
    out: Out = None,
    samples: Annotated[int | None, typer.Option("--samples", help="per problem; default: the profile's")] = None,
    limit: Limit = None,
    shard: ShardName = None,
    languages: Languages = None,
    prompt_style: Annotated[str | None, typer.Option("--prompt-style", help="raw or chat")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="temperature 0")] = False,
    temperature: Annotated[float | None, typer.Option("--temperature", min=0.0)] = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", min=1)] = None,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="bfloat16, float16, float32")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    base_url: BaseUrl = None,
    sandbox: SandboxName = None,
    data_dir: DataDir = None,
    workers: WorkersOption = None,
    executor: ExecutorName = "warm",
    database_url: DatabaseUrl = None,
    as_of: AsOf = None,
    sql_version: SqlVersion = None,
    sql_prompt: SqlPrompt = None,
    num_columns: NumColumns = None,
    robust: Robust = False,
    judge: JudgeName = None,
    judge_base_url: JudgeUrl = None,
    judge_attempts: JudgeAttempts = 1,
    judge_max_new_tokens: JudgeTokens = None,
    references: References = None,
    allow_missing: AllowMissing = False,
    fastchat_regex: FastchatRegex = False,
    system: System = "",
    add_bos: Annotated[bool, typer.Option("--add-bos", help="zero_shot: a BOS token before the prompt")] = False,
) -> None:
    """Generate, execute, score, and write the run folder; run again on the same folder to resume."""
    console, crew = Console(stderr=True), parse_workers(workers)
    suites, chosen = _suites(suite), load_profile(profile)
    if samples is not None and samples < 1:
        raise UsageError(f"--samples {samples}: at least 1")
    asking = _asking(model, chosen, prompt_style, greedy, temperature, max_new_tokens, seed)
    sql: SqlPlan | None = None
    if SQL_SUITE in suites:
        typed = SqlOptions(
            database_url=database_url, as_of=as_of, version=sql_version, prompt=sql_prompt,
            num_columns=num_columns, robust=robust,
        )  # fmt: skip
        sql = sql_plan(profile, typed, asking.style, data_dir=data_dir, limit=limit, workers=crew.programs)
        asking = sql_asking(sql, asking, suites, samples)
    plan = RunPlan(
        out=_out(out, model),
        profile=chosen,
        suites=suites,
        samples=samples or (1 if asking.sampling.temperature == 0 else chosen.samples),
        argv=arguments(),
        model=model,
        limit=limit,
        shard=parse_shard(shard) if shard is not None else None,
    )
    if shard is not None and (MT_BENCH in suites or ZERO_SHOT in suites):
        raise UsageError("--shard is for the suites multipl_e, starter and sql")
    if ZERO_SHOT in suites:
        if crew.address is not None:
            raise UsageError("--workers ray…: the zero_shot suite is lm-eval's own, in this process")
        run_zero_shot_suite(replace(plan, samples=1), data_dir, dtype=dtype, batch_size=batch_size, add_bos=add_bos)
        return
    from codecard.generate import open_generator

    with open_cluster(crew, console) as cluster:
        if MT_BENCH in suites:
            options = MtBenchOptions(
                judge=judge, judge_base_url=judge_base_url, judge_attempts=judge_attempts,
                judge_max_new_tokens=judge_max_new_tokens, references=references, system=system,
                temperature=temperature, max_new_tokens=max_new_tokens, seed=asking.seed,
                allow_missing=allow_missing, reference_parser=fastchat_regex,
            )  # fmt: skip
            opening = {"dtype": dtype, "batch_size": batch_size, "base_url": base_url, "cluster": cluster}
            run_suite(replace(plan, samples=1), options, data_dir, opening)
            return
        evaluators: list[Evaluator] = []
        if sql is not None:
            evaluators.append(SqlEvaluator(sql))
        code = tuple(name for name in suites if name in CODE_SUITES)
        evaluators += _evaluators(
            code, chosen, sandbox, data_dir, limit, crew, console, _languages(languages), executor, cluster
        )
        try:
            with TerminalWatcher(console) as watcher:
                generator = open_generator(
                    model, dtype=dtype, batch_size=batch_size, base_url=base_url, cluster=cluster
                )
                label = str(generator.fingerprint().get("model", model))
                try:
                    _examine(evaluators, plan.out)
                    outcome = run(plan, evaluators, generator, asking, watcher)
                finally:
                    generator.close()
        finally:
            for evaluator in evaluators:
                evaluator.close()
    _finish(console, plan, label, outcome, _asked(asking, plan.samples))


def score_command(
    files: Annotated[list[Path], typer.Argument(help="completions: .jsonl, .json, .json.gz")],
    suite: Suite = "multipl_e",
    profile: ProfileName = "card-2024-03",
    out: Out = None,
    language: Annotated[str | None, typer.Option("--language", help="where the format does not name it")] = None,
    sandbox: SandboxName = None,
    data_dir: DataDir = None,
    workers: WorkersOption = None,
    executor: ExecutorName = "warm",
    database_url: DatabaseUrl = None,
    as_of: AsOf = None,
    sql_version: SqlVersion = None,
    robust: Robust = False,
    judged_model: JudgedModel = None,
    judge: JudgeName = None,
    judge_base_url: JudgeUrl = None,
    judge_attempts: JudgeAttempts = 1,
    judge_max_new_tokens: JudgeTokens = None,
    references: References = None,
    allow_missing: AllowMissing = False,
    fastchat_regex: FastchatRegex = False,
) -> None:
    """Execute and score completions made elsewhere; needs no model."""
    from codecard.store.importers import match, read_completion_file

    console, crew = Console(stderr=True), parse_workers(workers)
    suites, chosen = _suites(suite), load_profile(profile)
    if len(suites) != 1:
        raise UsageError("codecard score takes one suite at a time")
    if suites == (ZERO_SHOT,):
        raise UsageError("raw lm-eval outputs are scored already: give them to codecard card or reproduce --with")
    if language is not None and language not in LANGUAGES:
        raise UsageError(unknown("language", language, list(LANGUAGES)))
    if suites == (SQL_SUITE,):
        typed = SqlOptions(database_url=database_url, as_of=as_of, version=sql_version, robust=robust)
        asked = sql_plan(profile, typed, PromptStyle.RAW, data_dir=data_dir, workers=crew.programs)
        _score_sql(files, asked, chosen, _out(out, files[0].stem), sql_version is not None)
        return
    if suites == (MT_BENCH,):
        plan = RunPlan(
            out=_out(out, files[0].stem), profile=chosen, suites=suites, samples=1, argv=arguments()
        )  # fmt: skip
        options = MtBenchOptions(
            judge=judge, judge_base_url=judge_base_url, judge_attempts=judge_attempts,
            judge_max_new_tokens=judge_max_new_tokens, references=references,
            allow_missing=allow_missing, reference_parser=fastchat_regex,
        )  # fmt: skip
        score_suite(plan, files, options, data_dir, judged_model)
        return
    rows = [row for file in files for row in read_completion_file(file, suites[0], language)]
    if not rows:
        raise UsageError(f"no completions in {', '.join(map(str, files))}")
    plan = RunPlan(
        out=_out(out, files[0].stem),
        profile=chosen,
        suites=suites,
        samples=1 + max(*(row.sample for row in rows), 0),
        argv=arguments(),
    )
    named = frozenset(row.task.split("/")[-1] for row in rows) & frozenset(LANGUAGES)
    with open_cluster(crew, console) as cluster:
        evaluators = _evaluators(
            suites, chosen, sandbox, data_dir, None, crew, console, named or None, executor, cluster
        )
        try:
            matched = match(rows, evaluators[0].problems())
            works = [Work(problem=m.problem, completion=m.completion, source=m.program, label=m.label) for m in matched]
            outside = frozenset(m.completion.id for m in matched if m.outside)
            with TerminalWatcher(console) as watcher:
                outcome = score_works(plan, evaluators, {suites[0]: works}, watcher, outside)
            if outside:
                console.print(f"{len(outside)} programs of problems outside the suite: run, not scored", style="yellow")
        finally:
            for evaluator in evaluators:
                evaluator.close()
    _finish(console, plan, files[0].stem, outcome)


def _score_sql(files: list[Path], asked: SqlPlan, profile: Profile, out: Path, chosen: bool) -> None:
    evaluator, works = sql_works(files, asked, chosen=chosen)
    plan = RunPlan(
        out=out,
        profile=profile,
        suites=(SQL_SUITE,),
        samples=1 + max(work.completion.sample for work in works),
        argv=arguments(),
    )
    console = Console(stderr=True)
    try:
        with TerminalWatcher(console) as watcher:
            outcome = score_works(plan, [evaluator], {SQL_SUITE: works}, watcher)
    finally:
        evaluator.close()
    _finish(console, plan, files[0].stem, outcome)


def _languages(given: str | None) -> frozenset[str] | None:
    if given is None:
        return None
    chosen = frozenset(name.strip() for name in given.split(",") if name.strip())
    for name in chosen:
        if name not in LANGUAGES:
            raise UsageError(unknown("language", name, list(LANGUAGES)))
    return chosen


def _suites(given: str) -> tuple[str, ...]:
    suites = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in suites:
        if name not in SUITES:
            raise UsageError(unknown("suite", name, list(SUITES)))
    if not suites:
        raise UsageError("--suite names no suite")
    return suites


def _asking(
    model: str,
    profile: Profile,
    style: str | None,
    greedy: bool,
    temperature: float | None,
    max_new_tokens: int | None,
    seed: int | None,
) -> Asking:
    if style is not None and style not in list(PromptStyle):
        raise UsageError(unknown("prompt style", style, [s.value for s in PromptStyle]))
    # a 135M chat model continues raw prompts with prose: asked raw, it would honestly score nothing
    embedded = model.rpartition(":")[2] == "embedded"
    chosen = PromptStyle(style) if style else PromptStyle.CHAT if embedded else profile.prompt_style
    chat = chosen is PromptStyle.CHAT
    base = profile.sampling
    heat = 0.0 if greedy else base.temperature if temperature is None else temperature
    sampling = Sampling(
        temperature=heat,
        top_p=base.top_p if heat else 1.0,
        top_k=base.top_k if heat else 0,
        max_total_tokens=None if chat else base.max_total_tokens,
        max_new_tokens=max_new_tokens or (profile.max_new_tokens_chat if chat else None),
    )
    return Asking(style=chosen, sampling=sampling, seed=profile.seed if seed is None else seed)


def _out(out: Path | None, label: str) -> Path:
    if out is not None:
        return out
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in label.removeprefix("hf:")).strip("-")
    return Path("results/runs") / f"{name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"


def _evaluators(
    suites: tuple[str, ...],
    profile: Profile,
    sandbox: str | None,
    data_dir: Path | None,
    limit: int | None,
    workers: Workers,
    console: Console,
    languages: frozenset[str] | None,
    executor: str,
    cluster: Cluster | None = None,
) -> list[Evaluator]:
    data = data_dir or default_data_dir()
    if data is not None and not data.is_dir():
        raise UsageError(f"no data folder {data}")
    if executor not in EXECUTORS:
        raise UsageError(unknown("executor", executor, list(EXECUTORS)))
    made: list[Evaluator] = []
    try:
        for suite in suites:
            box, runner = open_box(cluster, sandbox, languages, executor == "plain", console)
            opened = CodeEvaluator(
                suite, profile, box, data_dir=data, limit=limit, workers=workers.programs, languages=languages,
                plain=executor == "plain", executor=runner,
            )  # fmt: skip
            made.append(opened)
    except BaseException:
        for evaluator in made:
            evaluator.close()
        raise
    return made


def _examine(evaluators: list[Evaluator], out: Path) -> None:
    """The doctor's short form before a run begins; one that goes on has passed it."""
    if (out / "executions.jsonl").exists():
        return
    for evaluator in evaluators:
        if isinstance(evaluator, CodeEvaluator):
            evaluator.examine()


def _asked(asking: Asking, samples: int) -> str:
    """How the model was asked, in a line: what a reader must know before comparing the number with another."""
    sampling = asking.sampling
    heat = f"T {sampling.temperature:g}, top-p {sampling.top_p:g}" if sampling.temperature else "greedy"
    limits = [f"{sampling.max_new_tokens} new tokens"] if sampling.max_new_tokens else []
    limits += [f"{sampling.max_total_tokens} tokens in all"] if sampling.max_total_tokens else []
    count = f"{samples} sample{'s' if samples > 1 else ''} a problem"
    return ", ".join([f"asked in {asking.style.value} form", heat, count, *limits])


def _finish(console: Console, plan: RunPlan, label: str, outcome: Outcome, asked: str = "") -> None:
    show_outcome(Console(), label, plan.suites, outcome)
    tables = [markdown_table(suite, label, outcome) for suite in plan.suites if suite in CODE_SUITES]
    if SQL_SUITE in plan.suites:
        tables.append(show_sql(Console(), plan.out, label))
    notes = "".join(f"\n- {line}" for line in remarks(outcome))
    write_text(plan.out / "tables.md", "\n".join(tables) + (f"{notes}\n" if notes else ""))
    console.print(f"profile {plan.profile.name}{'; ' if asked else ''}{asked}", style="dim", highlight=False)
    if stages := stages_text(outcome.stages):
        console.print(f"stages: {stages}", style="dim", highlight=False)
    console.print(f"run folder: {plan.out}", style="dim", highlight=False)
