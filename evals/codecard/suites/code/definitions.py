"""Suites whose answers are programs with tests, from TOML: one file a language, and `suite.toml` for the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codecard.files import read_jsonl
from codecard.languages import Language, find_language, language_names
from codecard.model import Limits, PromptStyle, StageLimits, UsageError
from codecard.settings import Options, option, read_toml

RUN_S = 15
"""Seconds of a stage where a definition names none: bigcode-evaluation-harness's own."""


class CodeOptions(Options):
    """What decides a number of such a suite besides its problems."""

    revision: str = option("", about="revision of the data set on the Hub", step="data set revision")
    prompt_style: PromptStyle = option(PromptStyle.RAW, about="raw or chat", role="asking")
    extra_stop_tokens: tuple[str, ...] = option((), about="stop strings beside the task's own", step="stop words")
    samples: int = option(1, about="samples a problem", role="asking", ge=1)
    temperature: float = option(0.0, about="0 is greedy", role="asking", ge=0)
    top_p: float = option(1.0, about="share of the probability that is drawn from", role="asking")
    top_k: int = option(0, about="tokens that are drawn from; 0: all", role="asking", ge=0)
    max_total_tokens: int | None = option(None, about="tokens of prompt and completion, raw form", role="asking")
    max_new_tokens: int = option(512, about="tokens of a chat answer", role="asking", ge=1)
    seed: int = option(0, about="of the sampling", role="asking")
    deadline: Literal["wall", "cpu"] = option("cpu", about="whether wall or CPU seconds decide", step="limits")
    wall_slack: float = option(3.0, about="wall seconds a second of the limit", step="limits", ge=1)
    variants: tuple[str, ...] = option((), about="variants of run commands, by name", step="toolchain")
    early_exit_passes: bool = option(False, about="status 0 is enough to pass", step="early-exit rule")
    executor: Literal["warm", "plain"] = option(
        "warm", about="warm servers, or plain: the reference's own commands", role="free", old="--executor"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTask:
    """One language of a suite. Seconds are the limits of each stage; `stop_tokens` None leaves them to the rows.

    `file` is looked for in `folder`, then in the benchmark data; without either the Hub's `hub_path` is read.
    """

    task: str
    suite: str
    title: str
    language: Language
    folder: Path
    file: str
    count: int | None
    stop_tokens: tuple[str, ...] | None
    run_s: float
    build_s: float | None
    tolerated_stop_tokens: tuple[str, ...] = ()
    hub_path: str = ""
    hub_config: str = ""
    hub_split: str = "test"

    def limits(self, options: CodeOptions, host_factor: float = 1.0) -> Limits:
        """The definition's seconds, as wall time or as CPU time on a machine `host_factor` times slower.

        Under a wall deadline CPU time is left free (a program may use several cores); under a CPU deadline wall
        time is the safety net. What the machine's load takes from a program counts against neither.
        """

        def stage(seconds: float) -> StageLimits:
            if options.deadline == "wall":
                return StageLimits(cpu_s=seconds * 8, wall_s=seconds * options.wall_slack)
            return StageLimits(cpu_s=seconds * host_factor, wall_s=seconds * host_factor * options.wall_slack)

        return Limits(run=stage(self.run_s), build=stage(self.build_s) if self.build_s else None)


def code_tasks(folder: Path) -> list[CodeTask]:
    """The tasks of the suite in `folder`, in the order of the languages."""
    order = language_names()
    files = [path for path in sorted(folder.glob("*.toml")) if path.stem != "suite"]
    tasks = [_task(path) for path in files]
    return sorted(tasks, key=lambda task: order.index(task.language.name))


def _task(path: Path) -> CodeTask:
    fields = read_toml(path)
    try:
        dataset, prompt, limits = fields["dataset"], fields.get("prompt", {}), fields.get("limits", {})
        language = find_language(fields.get("language", path.stem))
        run_s = limits.get("run_s", RUN_S)  # as written: 15 and 15.0 have other keys, and folders keep those
        build_s = limits.get("build_s", run_s) if language.toolchain.build else None
        stops = prompt.get("stop_tokens")
        return CodeTask(
            task=fields.get("task", f"{path.parent.name}/{language.name}"),
            suite=path.parent.name,
            title=fields.get("title", language.title),
            language=language,
            folder=path.parent,
            file=dataset["file"],
            count=dataset.get("count") or _rows_beside(path, dataset["file"]),
            stop_tokens=None if stops is None else tuple(stops),
            tolerated_stop_tokens=tuple(prompt.get("tolerated_stop_tokens", ())),
            run_s=run_s,
            build_s=build_s,
            hub_path=dataset.get("path", ""),
            hub_config=dataset.get("config", ""),
            hub_split=dataset.get("split", "test"),
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path}: not a task: {what}") from None


def _rows_beside(definition: Path, file: str) -> int | None:
    """How many problems lie beside their definition, where they do."""
    path = definition.parent / file
    return len(read_jsonl(path)) if path.is_file() else None


def suite_fields(folder: Path) -> dict[str, Any]:
    """What `suite.toml` says of the suite as a whole; empty where there is none."""
    path = folder / "suite.toml"
    return read_toml(path) if path.is_file() else {}
