"""A run read back, and its scores: one pure function of the journals and the plan, whoever asks.

`Run.samples` has every planned sample, with a value or with who failed and why. `Run.estimates` is what every
table, file, comparison and notebook shows; `write_scores` writes it to scores.json and tables.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.files import Row, write_json, write_text
from codecard.journal import read_journal
from codecard.model import Completion, Estimates, Outcome, SampleId, Score, Table, UsageError, cluster_of, suite_of
from codecard.runs import frames
from codecard.runs.folder import (
    SCORES,
    STAGES,
    TABLES,
    ProblemId,
    read_completions,
    read_manifest,
    read_outcomes,
    read_problems,
)
from codecard.runs.manifest import Manifest
from codecard.sandbox.verdicts import unpublishable
from codecard.suites import in_order, known_suite
from codecard.tables import html_tables, markdown_tables

if TYPE_CHECKING:
    import pandas as pd

UNPLANNED = "unplanned"
"""Who failed where nobody was asked for a value: no judge was named."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A whole run folder in memory: its numbers, its samples, and pandas frames of both (`codecard[analysis]`).

    `problems` is the plan, by task and problem; `histories` the turns that the model wrote. In a notebook it shows its
    tables.
    """

    path: Path
    manifest: Manifest
    problems: dict[ProblemId, Row] = field(default_factory=dict)
    histories: dict[SampleId, tuple[Completion, ...]] = field(default_factory=dict)
    outcomes: dict[SampleId, Outcome] = field(default_factory=dict)
    stages: tuple[Row, ...] = ()
    """How busy generation and execution were, a row for each suite and start."""

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def model(self) -> str:
        recipe = self.manifest.recipe or {}
        return str(recipe.get("model") or self.manifest.model or "")

    @cached_property
    def suites(self) -> list[str]:
        return in_order({*self.manifest.suites, *(suite_of(score.task) for score in self.samples)})

    @cached_property
    def samples(self) -> tuple[Score, ...]:
        """Every sample that counts, in the order of tasks and problems.

        Planned are the samples that a plan names and those that came from files. A problem marked `outside` was run at
        the user's wish and belongs to no score.
        """
        planned = [(*key, n) for key, row in self.problems.items() for n in range(row.get("samples") or 0)]
        outside = {key for key, row in self.problems.items() if row.get("outside")}
        found = {key for key in [*planned, *self.histories, *self.outcomes] if key[:2] not in outside}
        tasks = ordered_tasks(key[0] for key in found)
        return tuple(self._score(key) for key in sorted(found, key=lambda k: (tasks[k[0]], natural(k[1]), k[2])))

    def _score(self, key: SampleId) -> Score:
        task, problem, sample = key
        outcome = self.outcomes.get(key)
        value = outcome.value if outcome is not None else None
        who = why = ""
        if outcome is not None and outcome.void is not None:
            who, why = outcome.void.who, outcome.void.why
        elif outcome is None:
            reason = self.manifest.skipped.get(task)
            who = "sandbox" if reason else "missing"
            why = reason or ("not executed" if key in self.histories else "not generated")
        cluster = str(self.problems.get((task, problem), {}).get("cluster") or cluster_of(problem))
        return Score(task=task, problem=problem, cluster=cluster, sample=sample, value=value, void=why, who=who)

    @cached_property
    def estimates(self) -> Estimates:
        """Every task's estimates, by the rules of its suite."""
        found: Estimates = {}
        for name in self.suites:
            scores = [score for score in self.samples if suite_of(score.task) == name]
            if scores:
                outcomes = {key: outcome for key, outcome in self.outcomes.items() if suite_of(key[0]) == name}
                found |= known_suite(name).summarise(scores, outcomes, self.manifest.facts_of(name))
        return found

    @cached_property
    def tables(self) -> list[Table]:
        """A table a suite, in the card's shape."""
        return [self._table(name) for name in self.suites if any(suite_of(t) == name for t in self.estimates)]

    def _table(self, name: str) -> Table:
        own = {task: found for task, found in self.estimates.items() if suite_of(task) == name}
        skipped = {task: why for task, why in self.manifest.skipped.items() if suite_of(task) == name and "/" in task}
        return known_suite(name).table(own, skipped, self.manifest.facts_of(name))

    @cached_property
    def remarks(self) -> list[str]:
        """What a reader must know beside the numbers: what was left out, is void, and what the suites say."""
        lines = [f"skipped {name}: {reason}" for name, reason in self.manifest.skipped.items()]
        if short := self._left_out():
            parts = ", ".join(f"{task} {count}" for task, count in short.items())
            lines.append(f"problems of the suite not in this run: {parts}")
        lines += self._void_lines()
        for name in self.suites:
            suite = known_suite(name)
            lines += suite.remarks(self.manifest.facts_of(name))
            mine = [outcome for key, outcome in sorted(self.outcomes.items()) if suite_of(key[0]) == name]
            lines += suite.outcome_remarks(mine, self.manifest.facts_of(name))
        return lines

    def _left_out(self) -> dict[str, int]:
        """Task → problems of the whole suite that no planned sample belongs to."""
        seen: dict[str, set[str]] = {}
        for score in self.samples:
            seen.setdefault(score.task, set()).add(score.problem)
        counts = self.manifest.counts
        return {task: counts[task] - len(names) for task, names in seen.items() if counts.get(task, 0) > len(names)}

    @cached_property
    def voids(self) -> list[Score]:
        """Planned samples without a value, for want of somebody."""
        return [score for score in self.samples if score.value is None and score.who != UNPLANNED]

    def _void_lines(self) -> list[str]:
        reasons: dict[tuple[str, str], int] = {}
        for score in self.voids:
            if score.task not in self.manifest.skipped:
                reasons[score.who, score.void] = reasons.get((score.who, score.void), 0) + 1
        if not reasons:
            return []
        total = sum(reasons.values())
        lines = [f"void (not a failure of the model; in no score): {total} of {len(self.samples)} samples"]
        executed = [score for score in self.voids if score.who == "sandbox" and score.task not in self.manifest.skipped]
        if why := unpublishable(len(self.outcomes), len(executed)):
            lines.append(why)
        shown = sorted(reasons.items(), key=lambda item: -item[1])[:8]
        lines += [f"{count} void{_by(who)}: {why}" for (who, why), count in shown]
        return lines + (["and other reasons"] if len(reasons) > len(shown) else [])

    @property
    def missing(self) -> str:
        """Why not every planned number is there, in one line with who failed; empty where all are."""
        forgiven = {name for name in self.suites if self.manifest.facts_of(name).get("allow_missing")}
        for name, reason in self.manifest.skipped.items():
            if suite_of(name) not in forgiven:
                return f"{name} did not run: {reason}"
        voids = [score for score in self.voids if suite_of(score.task) not in forgiven]
        if not voids:
            return ""
        first = voids[0]
        count = f"{len(voids)} of {len(self.samples)} samples are void"
        return f"{count}, the first{_by(first.who)}: {first.void}; the same command again makes them"

    def markdown(self, reported: Mapping[str, str] | None = None) -> str:
        """The tables and remarks, as tables.md has them."""
        return markdown_tables(self.tables, self.model or self.name, self.remarks, reported)

    def _repr_html_(self) -> str:
        return html_tables(self.tables, self.model or self.name, self.remarks)

    @cached_property
    def completions(self) -> pd.DataFrame:
        """A row a turn: text, style, finish_reason, prompt_tokens, new_tokens, seconds."""
        return frames.completions(self.histories.values())

    @cached_property
    def executions(self) -> pd.DataFrame:
        """The last outcome of each sample, with the journal's fields (verdict, passed, cpu_s, …)."""
        return frames.executions(self.outcomes.values())

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row for every planned sample: cluster, value (NaN when void), void (the reason), who."""
        return frames.scores(self.samples)

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write completions.parquet, executions.parquet and scores.parquet; returns their paths."""
        parts = {"completions": self.completions, "executions": self.executions, "scores": self.scores}
        return frames.write_parquet(parts, Path(folder))


def _by(who: str) -> str:
    return f" by {who}" if who else ""


def read_run(path: Path | str, *, empty: bool = False) -> Run:
    """Read a run folder. Raises UsageError in one line when it is none, holds a broken row, or is empty and may not
    be so."""
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    manifest = read_manifest(path)
    run = Run(
        path=path,
        manifest=manifest,
        problems=read_problems(path),
        histories=read_completions(path),
        outcomes=read_outcomes(path),
        stages=tuple(read_journal(path / STAGES)),
    )
    if not run.histories and not run.outcomes and not empty:
        raise UsageError(f"{path}: an empty run: no completions and no executions")
    return run


def write_scores(run: Run) -> None:
    """scores.json and tables.md, from the one scorer."""
    write_json(run.path / SCORES, scores_json(run.estimates))
    write_text(run.path / TABLES, run.markdown())


def scores_json(estimates: Estimates) -> Row:
    return {task: {name: asdict(found) for name, found in metrics.items()} for task, metrics in estimates.items()}


# ---------------------------------------------------------------- one order everywhere


def natural(name: str) -> tuple[Any, ...]:
    """Names by their numbers: `HumanEval_9_x` before `HumanEval_10_y`."""
    pieces = re.split(r"(\d+)", name)
    return tuple((int(piece), "") if i % 2 else (-1, piece) for i, piece in enumerate(pieces))


def ordered_tasks(tasks: Iterable[str]) -> Mapping[str, int]:
    """Task → its place: suites in their own order, their tasks as their tables show them, others by name."""
    wanted = set(tasks)
    found: list[str] = []
    for name in in_order({suite_of(task) for task in wanted}):
        found += [task for task in known_suite(name).tasks() if task in wanted]
        found += sorted(task for task in wanted if suite_of(task) == name and task not in found)
    return {task: place for place, task in enumerate(found)}
