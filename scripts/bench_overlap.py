#!/usr/bin/env python3
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
from codecard.model import Completion
from codecard.report.stages import stages_text
from codecard.runs.pipeline import RunPlan, Watcher, first_of_each, run
from codecard.settings import ModelSpec, load_profile
from codecard.suites import find_suite
from codecard.suites.suite import Asked, Session, Setting, Work


def opened(options: argparse.Namespace) -> Session:
    data = os.environ.get("CODECARD_DATA")
    suite = find_suite(options.suite)
    setting = Setting(
        profile=load_profile("card-2024-03"), model=ModelSpec.parse(options.model), sandbox=options.sandbox,
        data_dir=Path(data) if data else None, workers=options.workers,
        parts=frozenset(options.languages.split(",")),
        asked=Asked(
            temperature=0.8 if options.samples > 1 else 0.0, samples=options.samples,
            max_new_tokens=options.max_new_tokens,
        ),
    )  # fmt: skip
    session = suite.open(setting, suite.configured(setting.profile, {"executor": options.executor}))
    session.examine()
    return session


def generate(model: Generator, session: Session, limit: int) -> tuple[float, list[Completion]]:
    problems = first_of_each(session.problems(), limit)
    asked = [(problem, i) for problem in problems for i in range(session.asking.samples)]
    requests = [request for problem, i in asked if (request := session.request(problem, i, ()))]
    began = time.monotonic()
    completions = list(model.generate(requests))
    return time.monotonic() - began, completions


def execute(session: Session, completions: list[Completion]) -> float:
    problems = {(p.task, p.id): p for p in session.problems()}
    works = [Work(problem=problems[c.task, c.problem], sample=c.sample, history=(c,)) for c in completions]
    began = time.monotonic()
    for _ in session.evaluate(works):
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
    model = open_generator(options.model, batch_size=options.batch_size)
    session = opened(options)
    generating, completions = generate(model, session, options.limit)
    session.close()
    session = opened(options)  # a new one: the old has seen these programs
    executing = execute(session, completions)
    session.close()
    session = opened(options)
    with tempfile.TemporaryDirectory() as folder:
        plan = RunPlan(out=Path(folder), profile=load_profile("card-2024-03"), model=options.model, limit=options.limit)
        began = time.monotonic()
        done = run(plan, [session], model, {}, Watcher())
        wall = time.monotonic() - began
    model.close()
    print(f"{len(completions)} completions: model alone {generating:.0f} s, executors alone {executing:.0f} s")
    (stages,) = done.stages
    longer = max(stages["generate_s"], stages["execute_s"] / options.workers)
    print(f"both: {wall:.0f} s, {wall / max(generating, executing):.2f} of the longer stage alone, ", end="")
    print(f"{stages['wall_s'] / longer:.2f} of the longer stage beside the other")
    print(stages_text(done.stages))


if __name__ == "__main__":
    main()
