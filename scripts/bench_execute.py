#!/usr/bin/env python3
"""Programs a second: the bare command, the reference evaluator, the plain and the warm executor. Ratios, not absolutes.

    CODECARD_DATA=… scripts/bench_execute.py [LANG …] [--programs 24] [--copies 1] [--rounds 3] [--workers 2]
                               [--reference WHEEL]
    scripts/bench_execute.py --run RUN [--reference WHEEL]

All arms run the same programs with the same number of workers, interleaved round by round; medians of the ratios
within a round. The programs are chat answers cut to completions (`completions/reference.<lang>.jsonl`, set `gpt`), or
those of a run folder, duplicates and all. "Bare" is the language's plain command under `subprocess`, `--workers` at a
time, in one container of the same image without any supervision. The reference is bigcode-evaluation-harness'
`multiple_metrics` as its wheel has it (`pip download --no-deps nvidia-bigcode-eval`), one call for each problem as the
harness makes them, in a container too, since the programs are not to be trusted. The last line is all languages at
once: the executor shares its workers among them; the reference takes one language after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from codecard.journal import read_journal
from codecard.languages import find_language, language_names
from codecard.model import Program
from codecard.sandbox import Executor, Job, open_sandbox
from codecard.sandbox.images import image_name
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.code.suite import CodeSuite

Programs = dict[str, list[list[str]]]
"""Language → problems → programs, one for each sample."""

BARE = """
import json, subprocess, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
job = json.load(open("/job/job.json"))
def one(source):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, job["source"]).write_text(source)
        for command in (job["build"], job["run"]):
            if command and subprocess.run(command, cwd=folder, capture_output=True, timeout=60).returncode:
                return
time.sleep(1)
start = time.monotonic()
with ThreadPoolExecutor(job["workers"]) as pool:
    list(pool.map(one, [program for problem in job["problems"] for program in problem]))
print(time.monotonic() - start)
"""
REFERENCE = """
import json, pathlib, shutil, sys, time, types
sys.modules["numpy"] = types.ModuleType("numpy")  # imported for pass@k only
sys.path.insert(0, "/job")
jar = pathlib.Path("/usr/share/java/javatuples.jar")
if jar.exists():
    shutil.copy(jar, "/usr/multiple/javatuples-1.2.jar")
from multiple_metrics.evaluation import evaluate_problem
job = json.load(open("/job/job.json"))
names = []
for i, programs in enumerate(job["problems"]):
    names.append(f"/tmp/problem{i}.json")
    rows = {"name": str(i), "language": job["language"], "prompt": "", "tests": "", "completions": programs}
    pathlib.Path(names[-1]).write_text(json.dumps(rows))
time.sleep(1)
start = time.monotonic()
for name in names:
    evaluate_problem("/tmp", name, job["workers"])
print(time.monotonic() - start)
"""


def unpacked(wheel: Path, folder: Path) -> Path:
    """The evaluator's package out of its wheel."""
    inside = "bigcode_eval/tasks/custom_metrics/"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith(f"{inside}multiple_metrics/")])
    return folder / inside / "multiple_metrics"


def in_container(language: str, problems: list[list[str]], workers: int, script: str, package: Path | None) -> float:
    """Seconds that `script` took inside, as it says itself."""
    tools = find_language(language).toolchain
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        job = {"source": tools.source, "build": tools.build, "run": tools.run, "workers": workers,
               "language": language, "problems": problems}  # fmt: skip
        (Path(folder) / "job.json").write_text(json.dumps(job))
        (Path(folder) / "script.py").write_text(script)
        volumes = [f"--volume={folder}:/job:ro"]
        if package is not None:
            (Path(folder) / package.name).mkdir()
            volumes.append(f"--volume={package}:/job/{package.name}:ro")
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", "--user", "65534:65534", "--cap-drop", "ALL",
             "--security-opt", "no-new-privileges", "--memory", "4g", "--pids-limit", "512",
             "--tmpfs", "/tmp:exec,mode=1777", "--tmpfs", "/usr/multiple:mode=1777", *volumes,
             image_name(language), "python3", "-B", "/job/script.py"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"{language}: {done.stderr.strip()[-400:]}")
    return float(done.stdout.split()[-1])


def ours(chosen: Programs, workers: int, *, plain: bool) -> float:
    """Seconds for all programs of all these languages, the slots open and the servers started."""
    suite = find_suite("multipl_e")
    assert isinstance(suite, CodeSuite)
    tasks = {task.language.name: task for task in suite.code_tasks}
    profile = suite.configured(load_profile("card-2024-03"))

    def jobs(programs: list[tuple[str, str]]) -> list[Job]:
        return [
            Job(tag=i, program=Program(language=name, source=source), limits=tasks[name].limits(profile))
            for i, (name, source) in enumerate(programs)
        ]

    programs = [(name, source) for name, problems in chosen.items() for p in problems for source in p]
    with Executor(open_sandbox("docker"), workers, plain=plain) as executor:
        for name in chosen:  # one language at a time, so that every worker opens its slots
            first = [source for n, source in programs if n == name][: 2 * workers]
            # no two alike, or one worker would run for both, and the other open no slot
            for _ in executor.execute(jobs([(name, source + " " * i + "\n") for i, source in enumerate(first, 1)])):
                pass
        time.sleep(1)
        start = time.monotonic()
        for _ in executor.execute(jobs(programs)):
            pass
        return time.monotonic() - start


def recorded(data: Path, language: str, count: int, copies: int) -> list[list[str]]:
    path = data / f"completions/reference.{language}.jsonl"
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if row["set"] == "gpt"]
    return [[row["program"] + "\n" * extra] for extra in range(copies) for row in rows[:count]]


def of_run(run: Path) -> Programs:
    found: dict[str, dict[str, list[str]]] = {}
    for row in read_journal(run / "executions.jsonl"):
        language = row["task"].split("/")[-1]
        found.setdefault(language, {}).setdefault(row["problem"], []).append(row["program"])
    return {language: list(found[language].values()) for language in language_names() if language in found}


def show(name: str, count: int, rounds: list[dict[str, float]]) -> None:
    """One line: rates are medians, ratios medians of the ratios within a round."""
    cells = [f"{count / statistics.median(r[arm] for r in rounds):.1f}" if arm in rounds[0] else "–" for arm in ARMS]
    ratios = [
        f"{statistics.median(r[arm] / r['warm'] for r in rounds):.1f}" if arm in rounds[0] else "–"
        for arm in ("bare", "reference")
    ]
    print(f"| {' | '.join([name, str(count), *cells, *ratios])} |", flush=True)


ARMS = ("bare", "reference", "plain", "warm")


def one_round(chosen: Programs, language: str, workers: int, package: Path | None, plain: bool) -> dict[str, float]:
    problems = chosen[language]
    seconds = {"bare": in_container(language, problems, workers, BARE, None)}
    if package is not None:
        seconds["reference"] = in_container(language, problems, workers, REFERENCE, package)
    if plain:
        seconds["plain"] = ours({language: problems}, workers, plain=True)
    return seconds | {"warm": ours({language: problems}, workers, plain=False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("languages", nargs="*", default=list(language_names()))
    parser.add_argument("--programs", type=int, default=24, help="a language")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reference", type=Path, help="the reference evaluator's wheel")
    parser.add_argument("--run", type=Path, help="a run folder: its programs instead of the recorded answers")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain executor out")
    options = parser.parse_args()
    data = os.environ.get("CODECARD_DATA")
    if options.run is None and not data:
        sys.exit("set CODECARD_DATA or give --run")
    chosen = of_run(options.run) if options.run else {
        name: recorded(Path(str(data)), name, options.programs, options.copies) for name in options.languages
    }  # fmt: skip
    print("| language | programs | bare, programs/s | reference | plain | warm | warm ÷ bare | warm ÷ reference |")
    print(f"|{'---|' * 8}")
    with tempfile.TemporaryDirectory() as folder:
        package = unpacked(options.reference, Path(folder)) if options.reference else None
        os.chmod(folder, 0o755)
        together: list[dict[str, float]] = [{} for _ in range(options.rounds)]
        for language, problems in chosen.items():
            rounds = [
                one_round(chosen, language, options.workers, package, not options.no_plain)
                for _ in range(options.rounds)
            ]
            show(language, sum(map(len, problems)), rounds)
            for total, part in zip(together, rounds, strict=True):
                for arm in ("bare", "reference", "plain"):
                    if arm in part:
                        total[arm] = total.get(arm, 0.0) + part[arm]
        for total in together:
            total["warm"] = ours(chosen, options.workers, plain=False)
        show("all", sum(len(p) for problems in chosen.values() for p in problems), together)


if __name__ == "__main__":
    main()
