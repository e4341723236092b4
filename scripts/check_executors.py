#!/usr/bin/env python3
"""The warm executor's verdicts against the plain commands', row by row; exit 1 where one differs.

    CODECARD_DATA=… scripts/check_executors.py [LANG …] [--repeats 3] [--busy 4] [--every 1] [--sandbox docker]

Programs: all of `completions/reference.<lang>.jsonl`, or every n-th. The plain executor runs once, the warm one
`--repeats` times; with `--busy` that many processes keep the cores occupied through the last repeat.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codecard.languages import language_names
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.suite import Setting


def verdicts(language: str, data: Path, every: int, sandbox: str, *, plain: bool) -> dict[str, str]:
    """Row id → verdict, and the stage that gave it."""
    suite = find_suite("multipl_e")
    profile = load_profile("card-2024-03")
    setting = Setting(profile=profile, data_dir=data, sandbox=sandbox, parts=frozenset({language}))
    options = suite.configured(profile, {"executor": "plain" if plain else "warm"})
    session = suite.open(setting, options, [data / f"completions/reference.{language}.jsonl"])
    try:
        outcomes = session.evaluate(session.given()[::every])
        return {found.facts["id"]: f"{found.verdict} ({found.facts['stage']})" for found in outcomes}
    finally:
        session.close()


def spin() -> None:
    while True:
        sum(range(100_000))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """That many processes of other work, none of it of lower priority than ours."""
    others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.terminate()
            other.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("languages", nargs="*", default=list(language_names()))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1), help="processes, in the last repeat")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--sandbox", default="docker")
    options = parser.parse_args()
    if not os.environ.get("CODECARD_DATA"):
        sys.exit("set CODECARD_DATA")
    data, different = Path(os.environ["CODECARD_DATA"]), 0
    for language in options.languages:
        began = time.monotonic()
        expected = verdicts(language, data, options.every, options.sandbox, plain=True)
        print(f"{language}: {len(expected)} programs, plain in {time.monotonic() - began:.0f} s", flush=True)
        for repeat in range(1, options.repeats + 1):
            loaded = options.busy if repeat == options.repeats else 0
            began = time.monotonic()
            with busy(loaded):
                seen = verdicts(language, data, options.every, options.sandbox, plain=False)
            off = {name: (expected[name], seen.get(name)) for name in expected if seen.get(name) != expected[name]}
            different += len(off)
            beside = f" beside {loaded} busy processes" if loaded else ""
            print(f"  warm {repeat}{beside}: {len(off)} differ, {time.monotonic() - began:.0f} s", flush=True)
            for name, (plain, warm) in sorted(off.items()):
                print(f"    {name}: plain {plain}, warm {warm}", flush=True)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
