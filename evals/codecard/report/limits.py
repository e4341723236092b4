"""A task's limits in words, from the hash that a run's manifest keeps."""

from __future__ import annotations

from functools import cache

from codecard.model import Limits, StageLimits, UsageError
from codecard.score import suite_of
from codecard.store.run_folder import Row
from codecard.tasks.definitions import CODE_SUITES, code_tasks, limits_of, load_profile


def limits_text(task: str, manifest: Row) -> str:
    """Such as `build: 15 s wall, 2 GiB; run: …`; the bare hash where today's definitions give other limits."""
    limits, profile = manifest.get("limits"), manifest.get("profile")
    key = limits.get(task) if isinstance(limits, dict) else None
    if not isinstance(key, str):
        return ""
    name = profile.get("name") if isinstance(profile, dict) else profile
    found = _defined(task, str(name))
    return key if found is None or found.key != key else _words(found)


@cache
def _defined(task: str, profile: str) -> Limits | None:
    """Today's limits of a code task under a profile; None where there is no such task or profile."""
    if suite_of(task) not in CODE_SUITES:
        return None
    try:
        tasks = {definition.task: definition for definition in code_tasks(suite_of(task))}
        return limits_of(tasks[task], load_profile(profile)) if task in tasks else None
    except UsageError:
        return None


def _words(limits: Limits) -> str:
    stages = [("build", limits.build), ("run", limits.run)]
    return "; ".join(f"{name}: {_stage(stage)}" for name, stage in stages if stage is not None)


def _stage(stage: StageLimits) -> str:
    return f"{stage.cpu_s:g} s CPU, {stage.wall_s:g} s wall, {stage.memory_bytes / 2**30:g} GiB"
