"""plan → generate ⇄ execute → score: the only place that knows all the ports.

Generation runs in a thread of its own and hands completions through a bounded queue to the evaluator, so that both
stages overlap and memory stays bounded. Every finished completion and execution is in its journal before anything
else happens to it: killing the process at any moment loses only what was in flight.
"""

from __future__ import annotations

import contextlib
import platform
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Generator as Generator_
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from codecard.generate import Generator
from codecard.model import Completion, Estimate, Problem, Recipe, Score, Tests, UsageError
from codecard.pipeline.busy import StageClock
from codecard.pipeline.evaluator import Asking, Evaluator, Row, Work
from codecard.pipeline.sharding import Part, Shard
from codecard.score import summarise
from codecard.store import STAGES, RunFolder, completion_row, read_completions, read_executions, read_journal
from codecard.tasks.definitions import Profile

QUEUE = 256
IDENTITY = ("suites", "profile", "recipe", "data", "sandbox", "shard")
PACKAGES = ("codecard", "torch", "transformers", "datasets", "docker", "lm-eval")


class Watcher:
    """Told of everything that finishes; the terminal overrides what it shows."""

    def plan(self, suite: str, to_generate: int, to_execute: int) -> None: ...

    def generated(self, completion: Completion) -> None: ...

    def executed(self, row: Row) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What is asked for. `model` is None where completions come from files."""

    out: Path
    profile: Profile
    suites: tuple[str, ...]
    samples: int
    argv: tuple[str, ...]
    model: str | None = None
    limit: int | None = None
    shard: Shard | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Scores of a finished run, ready to be shown."""

    scores: dict[str, dict[str, Estimate]]
    missing: dict[str, int] = field(default_factory=dict)
    """Task → problems of the suite that were not part of this run."""
    skipped: dict[str, str] = field(default_factory=dict)
    voids: int = 0
    executed: int = 0
    stages: list[Row] = field(default_factory=list)
    """How busy generation and execution were, a row for each suite and start."""


def run(plan: RunPlan, evaluators: list[Evaluator], generator: Generator, asking: Asking, watcher: Watcher) -> Outcome:
    """Generate, execute and score; on a folder that holds part of this run, do the rest of it."""
    if plan.shard is not None:
        evaluators = [Part(evaluator, plan.shard) for evaluator in evaluators]
    manifest = manifest_of(plan, evaluators) | {
        "recipe": recipe_of(plan, generator, asking),
        "fingerprint": generator.fingerprint(),
    }
    with RunFolder(plan.out, manifest, IDENTITY) as folder:
        folder.write_problems(_problem_row(p) for e in evaluators for p in e.problems())
        for evaluator in evaluators:
            _run_suite(plan, evaluator, generator, asking, folder, watcher)
        return finish(folder, evaluators, _expected(plan, evaluators))


def recipe_of(plan: RunPlan, generator: Generator, asking: Asking) -> Row:
    print_of = generator.fingerprint()
    recipe = Recipe(
        model=str(print_of.get("model", plan.model)),
        revision=str(print_of.get("revision", "")),
        backend=str(print_of.get("backend", "")),
        dtype=str(print_of.get("dtype", "")),
        chat_template_hash=str(print_of.get("chat_template_hash", "")),
        prompt_style=asking.style,
        sampling=asking.sampling,
        seed=asking.seed,
    )
    return asdict(recipe) | {"key": recipe.key}


def _run_suite(
    plan: RunPlan,
    evaluator: Evaluator,
    generator: Generator,
    asking: Asking,
    folder: RunFolder,
    watcher: Watcher,
) -> None:
    problems = {(p.task, p.id): p for p in evaluator.problems()}
    wanted = [(p, s) for p in evaluator.problems() for s in range(plan.samples)]
    have = {c.id: c for c in read_completions(plan.out)}
    done = _done_keys(plan.out)
    ready = [Work(problem=p, completion=have[p.task, p.id, s]) for p, s in wanted if (p.task, p.id, s) in have]
    pending = [work for work in ready if evaluator.key(work) != done.get(work.completion.id)]
    requests = [evaluator.request(p, s, asking) for p, s in wanted if (p.task, p.id, s) not in have]
    watcher.plan(evaluator.suite, len(requests), len(pending) + len(requests))

    clock = StageClock(evaluator)

    def fresh() -> Iterator[Work]:
        for completion in clock.generated(generator.generate(requests)):
            folder.completions.append(completion_row(completion))
            watcher.generated(completion)
            yield Work(problem=problems[completion.task, completion.problem], completion=completion)

    work = overlapped(pending, fresh)
    try:
        for row in evaluator.evaluate(work):
            folder.executions.append(row)
            clock.executed()
            watcher.executed(row)
        if requests or pending:
            folder.stages.append(clock.row())
    finally:
        with contextlib.suppress(ValueError):  # another worker is still waiting in it; it ends with this process
            work.close()


def _done_keys(run_path: Path) -> dict[tuple[str, str, int], str]:
    """Sample → key of its last outcome. A void is not done: it is tried again on resume."""
    rows = read_executions(run_path)
    return {sample: row.get("key", "") for sample, row in rows.items() if not row.get("void")}


def overlapped(first: Iterable[Work], produce: Callable[[], Iterator[Work]]) -> Generator_[Work, None, None]:
    """`first`, then what `produce` yields in a thread of its own, at most `QUEUE` items ahead."""
    items: queue.Queue[Work | BaseException | None] = queue.Queue(maxsize=QUEUE)
    stop = threading.Event()

    def put(item: Work | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=0.2)
                return

    def work() -> None:
        try:
            for item in produce():
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again in the consumer's thread
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from first
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def score_works(
    plan: RunPlan,
    evaluators: list[Evaluator],
    works: dict[str, list[Work]],
    watcher: Watcher,
    outside: frozenset[tuple[str, str, int]] = frozenset(),
) -> Outcome:
    """Execute and score completions made elsewhere; `works` by suite. Samples `outside` are run, not scored."""
    manifest = manifest_of(plan, evaluators) | {"recipe": None, "fingerprint": None}
    with RunFolder(plan.out, manifest, IDENTITY) as folder:
        given = {w.problem.key: w.problem for items in works.values() for w in items}
        strangers = {sample[:2] for sample in outside}
        marks = ({"outside": True} if (p.task, p.id) in strangers else {} for p in given.values())
        folder.write_problems(_problem_row(p) | mark for p, mark in zip(given.values(), marks, strict=True))
        have = {c.id: c for c in read_completions(plan.out)}
        done = _done_keys(plan.out)
        for evaluator in evaluators:
            pending = []
            for work in works[evaluator.suite]:
                before = have.get(work.completion.id)
                if before is not None and before.text != work.completion.text:
                    where = " ".join(map(str, work.completion.id))
                    raise UsageError(f"{plan.out} holds another completion of {where}; choose another --out")
                if before is None:
                    folder.completions.append(completion_row(work.completion))
                if done.get(work.completion.id) != evaluator.key(work):
                    pending.append(work)
            watcher.plan(evaluator.suite, 0, len(pending))
            for row in evaluator.evaluate(pending):
                folder.executions.append(row)
                watcher.executed(row)
        scored = [w for items in works.values() for w in items if w.completion.id not in outside]
        return finish(folder, evaluators, {w.completion.id: w.problem for w in scored})


def finish(folder: RunFolder, evaluators: list[Evaluator], expected: dict[tuple[str, str, int], Problem]) -> Outcome:
    """Scores from the journal: one per expected sample, void where none could be had."""
    rows = read_executions(folder.path)
    scores = [_score(sample, problem, rows.get(sample)) for sample, problem in expected.items()]
    outcome = Outcome(
        scores=summarise(scores),
        missing=missing_of({t: n for e in evaluators for t, n in getattr(e, "counts", {}).items()}, expected),
        skipped={task: reason for e in evaluators for task, reason in e.skipped.items()},
        voids=sum(score.value is None for score in scores),
        executed=len(scores),
        stages=list(read_journal(folder.path / STAGES)),
    )
    folder.write_scores(scores_json(outcome))
    return outcome


def _score(sample: tuple[str, str, int], problem: Problem, row: Row | None) -> Score:
    task, name, index = sample
    passed = row["passed"] if row is not None else None
    void = "" if passed is not None else (row or {}).get("void") or "not executed"
    value = None if passed is None else float(passed)
    return Score(task=task, problem=name, cluster=problem.cluster, sample=index, value=value, void=void)


def missing_of(counts: dict[str, int], expected: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    """Task → how many of its `counts` problems no sample belongs to."""
    seen: dict[str, set[str]] = {}
    for task, name, _ in expected:
        seen.setdefault(task, set()).add(name)
    return {task: counts[task] - len(names) for task, names in seen.items() if counts.get(task, 0) > len(names)}


def scores_json(outcome: Outcome) -> Row:
    def plain(estimate: Estimate) -> Row:
        return {k: getattr(estimate, k) for k in ("value", "low", "high", "n", "void", "method")}

    return {task: {name: plain(e) for name, e in metrics.items()} for task, metrics in outcome.scores.items()}


def _expected(plan: RunPlan, evaluators: list[Evaluator]) -> dict[tuple[str, str, int], Problem]:
    return {(p.task, p.id, s): p for e in evaluators for p in e.problems() for s in range(plan.samples)}


def _problem_row(problem: Problem) -> Row:
    tests = problem.checker.source if isinstance(problem.checker, Tests) else ""
    return {
        "task": problem.task,
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "tests": tests,
    }


def manifest_of(plan: RunPlan, evaluators: list[Evaluator]) -> Row:
    """What decided the run, for its folder: versions, profile, argv, and what each suite says of itself."""
    described: dict[str, Any] = {}
    for evaluator in evaluators:
        for key, value in evaluator.describe().items():
            merged = {**described[key], **value} if isinstance(value, dict) and key in described else value
            described[key] = merged
    return {
        "codecard": _version("codecard"),
        "suites": list(plan.suites),
        "profile": {"name": plan.profile.name, "key": plan.profile.key},
        "model": plan.model,
        "samples": plan.samples,
        "limit": plan.limit,
        **({"shard": str(plan.shard)} if plan.shard is not None else {}),
        "argv": list(plan.argv),
        **described,
        "git": _git(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "host": {
            "python": sys.version.split()[0],
            "machine": platform.machine(),
            "kernel": platform.release(),
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git() -> str:
    """Revision of the checkout that runs, or empty outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=False, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
