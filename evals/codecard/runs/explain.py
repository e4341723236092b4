"""Why is my number different: the same completions under two profiles, one setting after the other.

The path from profile A to profile B changes one group of settings at a time, in the order in which the suite declares
them; each step's effect is the difference it makes on top of the steps before it, so the steps sum to the total
difference. Another order can share out an interaction of two settings differently; the total does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from codecard.model import Estimates, Outcome, SampleId, Score
from codecard.settings import Options, role_of, said_of
from codecard.suites.suite import Session, Setting, Suite, Work

TELL_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The same completions under one set of options."""

    estimates: Estimates
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


def path(a: Options, b: Options) -> list[tuple[str, str, Options]]:
    """(step, the settings it changes, the options after it) from `a` to `b`; a step without a change stays.

    Steps are those that the suite's options declare; options that decide and declare none are a step of their own.
    """
    groups: dict[str, list[str]] = {}
    for name, declared in type(a).model_fields.items():
        if role_of(declared) == "judging":
            groups.setdefault(str(said_of(declared, "step")) or name, []).append(name)
    found, current = [], a
    for step, names in groups.items():
        changes = {name: getattr(b, name) for name in names if getattr(current, name) != getattr(b, name)}
        said = ", ".join(f"{name} {_brief(getattr(current, name))} → {_brief(new)}" for name, new in changes.items())
        current = current.model_copy(update=changes)
        found.append((step, said, current))
    return found


def explain(names: tuple[str, str], a: Options, b: Options, measure: Callable[[Options], Measured]) -> Explanation:
    """Measure along the path from `a` to `b`; options that do not differ are measured once."""
    first = before = measure(a)
    steps = []
    voids = sum(value is None for value in first.values.values())
    for name, settings, options in path(a, b):
        after = measure(options) if settings else before
        steps.append(_step(name, settings, before, after))
        voids = max(voids, sum(value is None for value in after.values.values()))
        before = after
    asking = [name for name, declared in type(a).model_fields.items() if role_of(declared) == "asking"]
    return Explanation(
        a=names[0],
        b=names[1],
        first=_first_metric(first),
        last=_first_metric(before),
        steps=tuple(steps),
        voids=voids,
        samples=len(first.values),
        unused=tuple(name for name in asking if getattr(a, name) != getattr(b, name)),
    )


def _step(name: str, settings: str, before: Measured, after: Measured) -> Step:
    old, new = _first_metric(before), _first_metric(after)
    flips = [(sample, before.values.get(sample), value) for sample, value in after.values.items()]
    return Step(
        name=name,
        settings=settings,
        deltas={task: new[task] - old[task] for task in old if task in new},
        gained=tuple(sample for sample, was, now in flips if was == 0 and now == 1),
        lost=tuple(sample for sample, was, now in flips if was == 1 and now == 0),
    )


def _first_metric(measured: Measured) -> dict[str, float]:
    """Each task's pass@1, or whatever its suite counts first."""
    found = {task: next(iter(metrics.values())).value for task, metrics in measured.estimates.items()}
    return {task: value for task, value in found.items() if value is not None}


def _brief(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(repr, value)) or "none" if isinstance(value, tuple) else str(value)
    return text if len(text) <= 24 else text[:12] + "…"


@dataclass(slots=True, kw_only=True)
class CompletionMeasurer:
    """Scores given completions of a suite under any of its options; what has the same key is judged once."""

    suite: Suite
    setting: Setting
    files: list[Path]
    told: Callable[[str], None] = print
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By the suite's key: program, image and limits."""

    def __call__(self, options: Options) -> Measured:
        session = self.suite.open(self.setting, options, self.files)
        try:
            works = [work for work in session.given() if not work.outside and work.problem.task not in session.skipped]
            self._judge(session, works)
            found = {work.id: self._outcome(session, work) for work in works}
        finally:
            session.close()
        scores = [
            Score(
                task=work.problem.task,
                problem=work.problem.id,
                cluster=work.problem.cluster,
                sample=work.sample,
                value=found[work.id].value,
                void="void" if found[work.id].value is None else "",
            )
            for work in works
        ]
        return Measured(
            estimates=self.suite.summarise(scores, found, {}),
            values={sample: outcome.value for sample, outcome in found.items()},
        )

    def _judge(self, session: Session, works: Iterable[Work]) -> None:
        pending = {key: work for work in works if (key := session.key(work)) not in self.outcomes}
        self.told(f"{len(pending)} to judge")
        for done, outcome in enumerate(session.evaluate(pending.values()), start=1):
            if done % TELL_EVERY == 0:
                self.told(f"{done} of {len(pending)} judged")
            self.outcomes[outcome.key] = outcome
        counts = Counter(self.outcomes[key].verdict for key in pending)
        if counts:
            self.told(", ".join(f"{verdict} {count}" for verdict, count in counts.most_common()))

    def _outcome(self, session: Session, work: Work) -> Outcome:
        """A kept outcome as it counts under these options."""
        task, problem, sample = work.id
        kept = self.outcomes[session.key(work)]
        counted = session.counted(kept)
        return replace(kept, task=task, problem=problem, sample=sample, value=counted)
