"""Programs a second, per language: the bare command, the plain executor, the warm executor. Ratios, not absolutes.

    CODECARD_DATA=… scripts/bench_execute.py [LANG …] [--programs 40] [--rounds 3] [--workers 2]

All arms run the same programs (the chat answers cut to completions, `completions/reference.<lang>.jsonl`, set `gpt`)
with the same number of workers, interleaved round by round; the median round counts. "Bare" is the language's plain
command under `subprocess`, `--workers` at a time, inside one container of the same image without any supervision.
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
from pathlib import Path

from codecard.model import LANGUAGES, Program
from codecard.sandbox import Executor, Job, open_sandbox
from codecard.sandbox.images import image_name
from codecard.sandbox.toolchains import toolchain
from codecard.tasks.definitions import code_tasks, limits_of, load_profile

BARE = """
import json, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
job = json.load(open("/job/job.json"))
def one(source):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, job["source"]).write_text(source)
        for command in (job["build"], job["run"]):
            if command and subprocess.run(command, cwd=folder, capture_output=True, timeout=60).returncode:
                return
start = time.monotonic()
with ThreadPoolExecutor(job["workers"]) as pool:
    list(pool.map(one, job["programs"]))
print(time.monotonic() - start)
"""


def bare(language: str, programs: list[str], workers: int) -> float:
    tools = toolchain(language)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        job = {"source": tools.source, "build": tools.build, "run": tools.run, "workers": workers, "programs": programs}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        (Path(folder) / "bare.py").write_text(BARE)
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", "--user", "65534:65534", "--cap-drop", "ALL",
             "--security-opt", "no-new-privileges", "--memory", "4g", "--tmpfs", "/tmp:exec,mode=1777",
             "--volume", f"{folder}:/job:ro", image_name(language), "python3", "/job/bare.py"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return float(done.stdout)


def ours(language: str, programs: list[str], workers: int, *, plain: bool) -> float:
    task = {t.language: t for t in code_tasks("multipl_e")}[language]
    limits = limits_of(task, load_profile("card-2024-03"))
    jobs = [Job(tag=i, program=Program(language=language, source=s), limits=limits) for i, s in enumerate(programs)]
    sandbox = open_sandbox("docker")
    with Executor(sandbox, workers, plain=plain) as executor:
        warm_up = [Job(tag=-i, program=Program(language=language, source=f"{s}\n"), limits=limits)
                   for i, s in enumerate(programs[: 2 * workers])]  # fmt: skip
        for _ in executor.execute(warm_up):  # opens the slots, starts the servers
            pass
        start = time.monotonic()
        for _ in executor.execute(jobs):
            pass
        return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("languages", nargs="*", default=list(LANGUAGES))
    parser.add_argument("--programs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    data = os.environ.get("CODECARD_DATA")
    if not data:
        sys.exit("set CODECARD_DATA")
    print("| language | bare, programs/s | plain executor | warm executor | warm ÷ bare |")
    print("|---|---|---|---|---|")
    for language in options.languages:
        path = Path(data) / f"completions/reference.{language}.jsonl"
        rows = [row for row in map(json.loads, path.read_text().splitlines()) if row["set"] == "gpt"]
        programs = [row["program"] for row in rows[: options.programs]]
        rounds = [
            (
                bare(language, programs, options.workers),
                ours(language, programs, options.workers, plain=True),
                ours(language, programs, options.workers, plain=False),
            )
            for _ in range(options.rounds)
        ]
        rates = [len(programs) / statistics.median(arm) for arm in zip(*rounds, strict=True)]
        ratio = statistics.median(round_[0] / round_[2] for round_ in rounds)
        print(f"| {language} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[2]:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
