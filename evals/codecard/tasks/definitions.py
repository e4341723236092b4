"""Task definitions and profiles: declarative TOML, read into checked records."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import Limits, PromptStyle, Sampling, StageLimits, UsageError, content_key
from codecard.tasks.paths import tasks_dir

CODE_SUITES = ("multipl_e", "starter")
"""Suites whose answers are programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTask:
    """One language of a code suite. Seconds are the reference harness's limits of each stage."""

    task: str
    suite: str
    title: str
    language: str
    file: str
    count: int
    stop_tokens: tuple[str, ...]
    run_s: float
    tolerated_stop_tokens: tuple[str, ...] = ()
    build_s: float | None = None
    hub_path: str = ""
    hub_config: str = ""
    hub_split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A protocol: everything besides the problems that decides a number."""

    name: str
    summary: str
    revision: str
    prompt_style: PromptStyle
    extra_stop_tokens: tuple[str, ...]
    samples: int
    sampling: Sampling
    max_new_tokens_chat: int
    seed: int
    dtype: str
    early_exit_passes: bool
    deadline: str
    wall_slack: float
    java_runtime_javatuples: bool

    @property
    def key(self) -> str:
        return content_key(self)


def code_tasks(suite: str) -> list[CodeTask]:
    """The tasks of a code suite, in the order of the card's columns."""
    from codecard.model import LANGUAGES

    return [_code_task(suite, tasks_dir() / suite / f"{language}.toml") for language in LANGUAGES]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no definition {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None


def _code_task(suite: str, path: Path) -> CodeTask:
    fields = _read(path)
    dataset, prompt, limits = fields["dataset"], fields["prompt"], fields["limits"]
    return CodeTask(
        task=fields["task"],
        suite=suite,
        title=fields["title"],
        language=fields["language"],
        file=dataset["file"],
        count=dataset["count"],
        stop_tokens=tuple(prompt["stop_tokens"]),
        tolerated_stop_tokens=tuple(prompt.get("tolerated_stop_tokens", ())),
        build_s=limits.get("build_s"),
        run_s=limits["run_s"],
        hub_path=dataset.get("path", ""),
        hub_config=dataset.get("config", ""),
        hub_split=dataset.get("split", ""),
    )


def profile_names() -> list[str]:
    return sorted(path.stem for path in (tasks_dir() / "profiles").glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Raises UsageError with the near miss for an unknown name."""
    if name not in profile_names():
        raise UsageError(unknown("profile", name, profile_names()))
    fields = _read(tasks_dir() / "profiles" / f"{name}.toml")
    code, execution = fields["multipl_e"], fields["execution"]
    return Profile(
        name=fields["name"],
        summary=fields["summary"],
        revision=code["revision"],
        prompt_style=PromptStyle(code["prompt_style"]),
        extra_stop_tokens=tuple(code["extra_stop_tokens"]),
        samples=code["samples"],
        sampling=Sampling(
            temperature=code["temperature"],
            top_p=code["top_p"],
            top_k=code["top_k"],
            max_total_tokens=code["max_total_tokens"],
        ),
        max_new_tokens_chat=code["max_new_tokens_chat"],
        seed=code["seed"],
        dtype=code["dtype"],
        early_exit_passes=execution["early_exit_passes"],
        deadline=execution["deadline"],
        wall_slack=execution["wall_slack"],
        java_runtime_javatuples=execution["java_runtime_javatuples"],
    )


def limits_of(task: CodeTask, profile: Profile, host_factor: float = 1.0) -> Limits:
    """The reference's seconds, as wall time or as CPU time on a machine `host_factor` times slower.

    Under a wall deadline CPU time is left free (a program may use several cores); under a CPU deadline wall
    time is the safety net. What the machine's load takes from a program counts against neither.
    """

    def stage(seconds: float) -> StageLimits:
        if profile.deadline == "wall":
            return StageLimits(cpu_s=seconds * 8, wall_s=seconds * profile.wall_slack)
        return StageLimits(cpu_s=seconds * host_factor, wall_s=seconds * host_factor * profile.wall_slack)

    return Limits(run=stage(task.run_s), build=stage(task.build_s) if task.build_s else None)


def unknown(what: str, name: str, known: list[str]) -> str:
    """One line for a name that does not exist, with the near miss."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {hint}known: {', '.join(known)}"
