"""Why is my number different: the same completions under two profiles, one setting after the other.

The path from profile A to profile B changes one group of settings at a time, in a fixed order; each step's
effect is the difference it makes on top of the steps before it, so the steps sum to the total difference.
Another order can share out an interaction of two settings differently; the total does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from codecard.model import Estimate, Score, Verdict
from codecard.pipeline.code import CodeEvaluator
from codecard.pipeline.evaluator import Work
from codecard.sandbox import open_sandbox
from codecard.score import summarise
from codecard.store.importers import Imported, match
from codecard.tasks.definitions import Profile

STEPS = (
    ("data set revision", ("revision",)),
    ("Python task", ("py_task",)),
    ("stop words", ("extra_stop_tokens",)),
    ("extraction", ("extraction",)),
    ("limits", ("deadline", "wall_slack", "time_scale")),
    ("toolchain", ("java_runtime_javatuples",)),
    ("early-exit rule", ("early_exit_passes",)),
)
"""What a profile decides about given completions, in the order of the path."""

ASKING = ("prompt_style", "samples", "sampling", "max_new_tokens_chat", "seed", "dtype")
"""What a profile decides about asking: it has no effect on completions that are given."""

SampleId = tuple[str, str, int]
TELL_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The same completions under one profile."""

    estimates: dict[str, Estimate]
    values: dict[SampleId, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One group of settings changed. `deltas` by task, in pass@1; `gained` and `lost` are samples."""

    name: str
    settings: str
    deltas: dict[str, float]
    gained: tuple[SampleId, ...] = ()
    lost: tuple[SampleId, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """From A's numbers to B's. `unused`: settings that differ and act on asking alone."""

    a: str
    b: str
    first: dict[str, float]
    last: dict[str, float]
    steps: tuple[Step, ...]
    voids: int
    samples: int
    unused: tuple[str, ...] = ()

    @property
    def total(self) -> dict[str, float]:
        return {task: self.last[task] - self.first[task] for task in self.first}


def path(a: Profile, b: Profile) -> list[tuple[str, str, Profile]]:
    """(step, the settings it changes, the profile after it) from `a` to `b`; a step without a change stays."""
    known = {field.name for field in fields(Profile)}
    grouped = {name for _, names in STEPS for name in names} | set(ASKING) | {"name", "summary"}
    steps = [*STEPS, *((name, (name,)) for name in sorted(known - grouped))]
    found, current = [], a
    for step, names in steps:
        changes = {
            name: getattr(b, name) for name in names if name in known and getattr(current, name) != getattr(b, name)
        }
        said = ", ".join(f"{name} {_brief(getattr(current, name))} → {_brief(new)}" for name, new in changes.items())
        current = replace(current, **changes)
        found.append((step, said, current))
    return found


def explain(a: Profile, b: Profile, measure: Callable[[Profile], Measured]) -> Explanation:
    """Measure along the path from `a` to `b`; profiles that do not differ are measured once."""
    first = before = measure(a)
    steps = []
    voids = sum(value is None for value in first.values.values())
    for name, settings, profile in path(a, b):
        after = measure(profile) if settings else before
        steps.append(_step(name, settings, before, after))
        voids = max(voids, sum(value is None for value in after.values.values()))
        before = after
    unused = tuple(name for name in ASKING if getattr(a, name) != getattr(b, name))
    return Explanation(
        a=a.name,
        b=b.name,
        first=_pass_at_1(first),
        last=_pass_at_1(before),
        steps=tuple(steps),
        voids=voids,
        samples=len(first.values),
        unused=unused,
    )


def _step(name: str, settings: str, before: Measured, after: Measured) -> Step:
    old, new = _pass_at_1(before), _pass_at_1(after)
    flips = [(sample, before.values.get(sample), value) for sample, value in after.values.items()]
    return Step(
        name=name,
        settings=settings,
        deltas={task: new[task] - old[task] for task in old if task in new},
        gained=tuple(sample for sample, was, now in flips if was == 0 and now == 1),
        lost=tuple(sample for sample, was, now in flips if was == 1 and now == 0),
    )


def _pass_at_1(measured: Measured) -> dict[str, float]:
    found = {task: metrics.value for task, metrics in measured.estimates.items()}
    return {task: value for task, value in found.items() if value is not None}


def _brief(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 24 else text[:12] + "…"


@dataclass(slots=True, kw_only=True)
class CompletionMeasurer:
    """Scores given completions of a code suite under any profile; a program is executed once per set of limits."""

    rows: list[Imported]
    suite: str
    sandbox: str | None = None
    data_dir: Path | None = None
    workers: int | None = None
    languages: frozenset[str] | None = None
    told: Callable[[str], None] = print
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By the evaluator's key: program, image and limits."""

    def __call__(self, profile: Profile) -> Measured:
        evaluator = CodeEvaluator(
            self.suite,
            profile,
            open_sandbox(self.sandbox, self.told),
            data_dir=self.data_dir,
            limit=None,
            workers=self.workers,
            languages=self.languages,
        )
        try:
            works = self._works(evaluator)
            self._execute(evaluator, works)
            scores = [self._score(evaluator, work) for work in works]
        finally:
            evaluator.close()
        estimates = {task: metrics["pass@1"] for task, metrics in summarise(scores, ks=(1,)).items()}
        values = {(score.task, score.problem, score.sample): score.value for score in scores}
        return Measured(estimates=estimates, values=values)

    def _works(self, evaluator: CodeEvaluator) -> list[Work]:
        matched = match(self.rows, evaluator.problems())
        return [Work(problem=m.problem, completion=m.completion, source=m.program) for m in matched if not m.outside]

    def _execute(self, evaluator: CodeEvaluator, works: Iterable[Work]) -> None:
        pending = {key: work for work in works if (key := evaluator.key(work)) not in self.verdicts}
        self.told(f"{len(pending)} programs to run")
        by_id: Mapping[SampleId, str] = {work.completion.id: key for key, work in pending.items()}
        for done, row in enumerate(evaluator.evaluate(pending.values()), start=1):
            if done % TELL_EVERY == 0:
                self.told(f"{done} of {len(pending)} run")
            key = by_id[row["task"], row["problem"], row["sample"]]
            self.verdicts[key] = Verdict(row["verdict"])
        counts = Counter(self.verdicts[key].value for key in pending)
        if counts:
            self.told(", ".join(f"{verdict} {count}" for verdict, count in counts.most_common()))

    def _score(self, evaluator: CodeEvaluator, work: Work) -> Score:
        verdict = self.verdicts[evaluator.key(work)]
        completion = work.completion
        return Score(
            task=completion.task,
            problem=completion.problem,
            cluster=work.problem.cluster,
            sample=completion.sample,
            value=None if verdict.void else float(evaluator.passes(verdict)),
            void="sandbox error" if verdict.void else "",
        )
