"""Wall time of a run against its longer stage: 1.0 is perfect overlap, 2.0 one stage after the other.

    CODECARD_DATA=… scripts/bench_overlap.py [--model embedded] [--suite multipl_e] [--languages cpp] [--limit 60]
                               [--samples 1]

Three things in a row: the model alone, its completions through the executors alone, and the run that does both. One
worker and the plain executor by default, so that both stages take about as long on one core each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from codecard.generate import Generator, open_generator
from codecard.model import Completion, PromptStyle, Sampling
from codecard.pipeline import Asking, RunPlan, Watcher, Work, run
from codecard.pipeline.code import CodeEvaluator
from codecard.report.stages import stages_text
from codecard.sandbox import open_sandbox
from codecard.tasks.definitions import load_profile


def opened(options: argparse.Namespace) -> CodeEvaluator:
    data = os.environ.get("CODECARD_DATA")
    evaluator = CodeEvaluator(
        options.suite, load_profile("card-2024-03"), open_sandbox(options.sandbox),
        data_dir=Path(data) if data else None, limit=options.limit, workers=options.workers,
        languages=frozenset(options.languages.split(",")),
        plain=options.executor == "plain",
    )  # fmt: skip
    evaluator.examine()
    return evaluator


def generate(
    model: Generator, evaluator: CodeEvaluator, asking: Asking, samples: int
) -> tuple[float, list[Completion]]:
    requests = [evaluator.request(problem, i, asking) for problem in evaluator.problems() for i in range(samples)]
    began = time.monotonic()
    completions = list(model.generate(requests))
    return time.monotonic() - began, completions


def execute(evaluator: CodeEvaluator, completions: list[Completion]) -> float:
    problems = {(p.task, p.id): p for p in evaluator.problems()}
    works = [Work(problem=problems[c.task, c.problem], completion=c) for c in completions]
    began = time.monotonic()
    for _ in evaluator.evaluate(works):
        pass
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--suite", default="multipl_e")
    parser.add_argument("--languages", default="cpp")
    parser.add_argument("--limit", type=int, default=60, help="problems a language")
    parser.add_argument("--samples", type=int, default=1, help="a problem; more than one are drawn at T 0.8")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--executor", choices=["plain", "warm"], default="plain")
    parser.add_argument("--sandbox", default="docker")
    options = parser.parse_args()
    style = PromptStyle.CHAT if options.model == "embedded" else PromptStyle.RAW
    temperature = 0.8 if options.samples > 1 else 0.0
    sampling = Sampling(temperature=temperature, max_new_tokens=options.max_new_tokens)
    asking = Asking(style=style, sampling=sampling, seed=0)
    model = open_generator(options.model, batch_size=options.batch_size)
    evaluator = opened(options)
    generating, completions = generate(model, evaluator, asking, options.samples)
    evaluator.close()
    evaluator = opened(options)  # a new one: the old has seen these programs
    executing = execute(evaluator, completions)
    evaluator.close()
    evaluator = opened(options)
    with tempfile.TemporaryDirectory() as folder:
        plan = RunPlan(
            out=Path(folder), profile=load_profile("card-2024-03"), suites=(options.suite,), samples=options.samples,
            argv=(), model=options.model, limit=options.limit,
        )  # fmt: skip
        began = time.monotonic()
        outcome = run(plan, [evaluator], model, asking, Watcher())
        wall = time.monotonic() - began
    evaluator.close()
    model.close()
    print(f"{len(completions)} completions: model alone {generating:.0f} s, executors alone {executing:.0f} s")
    (stages,) = outcome.stages
    longer = max(stages["generate_s"], stages["execute_s"] / options.workers)
    print(f"both: {wall:.0f} s, {wall / max(generating, executing):.2f} of the longer stage alone, ", end="")
    print(f"{stages['wall_s'] / longer:.2f} of the longer stage beside the other")
    print(stages_text(outcome.stages))


if __name__ == "__main__":
    main()
