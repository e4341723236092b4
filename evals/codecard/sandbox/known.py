"""Programs whose outcome is known, from the starter suite: they tell a broken sandbox from a broken program."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from codecard.model import Completion, Limits, Program, StageLimits
from codecard.tasks.code import assemble, load_problems, read_jsonl
from codecard.tasks.definitions import code_tasks, load_profile
from codecard.tasks.paths import tasks_dir

SUITE = "starter"
GENEROUS = Limits(run=StageLimits(cpu_s=30, wall_s=120), build=StageLimits(cpu_s=120, wall_s=300))


@cache
def known_programs(language: str) -> dict[str, Program]:
    """The first program of each kind (`good`, `wrong`, `build_error`, `runtime_error`, `timeout`, `early_exit`)."""
    task = next(t for t in code_tasks(SUITE) if t.language == language)
    profile = load_profile("strict")
    problems = {p.id: p for p in load_problems(task, profile, None)[0]}
    programs: dict[str, Program] = {}
    for row in read_jsonl(_path(language)):
        if "completion" in row and row["kind"] not in programs:
            completion = Completion(task=task.task, problem=row["name"], sample=0, text=row["completion"])
            programs[row["kind"]] = assemble(problems[row["name"]], completion, profile)
    return programs


def _path(language: str) -> Path:
    return tasks_dir() / SUITE / f"{language}.programs.jsonl"
