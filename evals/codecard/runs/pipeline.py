"""plan → generate ⇄ evaluate → score: the only place that knows all the ports, and suites by theirs alone.

Generation runs in a thread of its own and hands what is whole through a bounded queue to the suite, so that both stages
overlap and memory stays bounded. Every finished completion and outcome is in its journal before anything else happens
to it: killing the process at any moment loses only what was in flight.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Generator_
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from codecard.ahead import Ahead
from codecard.files import Row
from codecard.generate.port import GenerationRequest, Generator
from codecard.model import Completion, Outcome, Problem, SampleId, UsageError, Void
from codecard.runs.busy import StageClock
from codecard.runs.folder import RunFolder, completion_row, outcome_row, problem_row, read_completions, read_outcomes
from codecard.runs.manifest import Manifest, makers
from codecard.runs.reading import Run, read_run, write_scores
from codecard.runs.shard import Shard
from codecard.settings import Profile
from codecard.suites.suite import Session, Work

QUEUE = 256
RECIPE = ("model", "revision", "backend", "dtype", "chat_template_hash")
"""What of a generator's fingerprint decides a completion; a server's address and library versions do not."""


class Watcher:
    """Told of everything that finishes; the terminal overrides what it shows. `executed` comes from the thread that
    started the run, `generated` from another."""

    def plan(self, suite: str, to_generate: int, to_execute: int) -> None: ...

    def generated(self, completion: Completion) -> None: ...

    def executed(self, outcome: Outcome) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What is asked for now. `model` as the user named it, or None where completions come from files. `refused`:
    suites that cannot run here, with the reason."""

    out: Path
    profile: Profile
    argv: tuple[str, ...] = ()
    model: str | None = None
    limit: int | None = None
    parts: frozenset[str] | None = None
    shard: Shard | None = None
    files: tuple[str, ...] = ()
    config: Row = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def ask(self, samples: int) -> Row:
        """What the manifest keeps of it, a suite."""
        if self.files:
            return {"files": sorted(self.files)}
        found: Row = {"samples": samples, "limit": self.limit, "shard": str(self.shard) if self.shard else None}
        found["languages"] = sorted(self.parts) if self.parts is not None else None
        return {name: value for name, value in found.items() if value is not None}


def run(
    plan: RunPlan, sessions: Sequence[Session], common: Generator | None, own: Mapping[str, Generator], watcher: Watcher
) -> Run:
    """Generate, evaluate and score; on a folder that holds part of this run, do the rest of it.

    `common` answers every suite that has no generator of its `own`, which are closed as soon as they are not needed.
    """
    asked = {session.suite.name: first_of_each(session.problems(), plan.limit) for session in sessions}
    mine = {
        name: [p for p in problems if plan.shard is None or plan.shard.holds(p)] for name, problems in asked.items()
    }
    manifest = manifest_of(plan, sessions)
    fingerprints = {s.suite.name: own.get(s.suite.name, common) for s in sessions}
    manifest.fingerprint = common.fingerprint() if common is not None else None
    for name, generator in fingerprints.items():
        assert generator is not None
        print_of = generator.fingerprint()
        manifest.recipe = manifest.recipe or {key: str(print_of.get(key, "")) for key in RECIPE}
        if name in own:
            manifest.asking[name]["generator"] = print_of
    planned = [row for session in sessions for row in _planned(session, asked[session.suite.name], plan)]
    with RunFolder(plan.out, manifest, planned) as folder:
        _say_if_less(folder, planned, watcher)
        turn = _Turn(folder, watcher)
        for session in sorted(sessions, key=lambda s: s.suite.name in own):
            name = session.suite.name
            if common is not None and name in own:
                common.close()
            turn.examine(session)
            generator = own.get(name, common)
            assert generator is not None
            with contextlib.closing(session), contextlib.ExitStack() as stack:
                if name in own:
                    stack.callback(generator.close)
                turn.ask_and_judge(session, mine[name], generator)
    return finish(plan.out)


def first_of_each(problems: Iterable[Problem], limit: int | None) -> list[Problem]:
    """The first `limit` problems of each task, in their order."""
    seen: Counter[str] = Counter()
    kept = []
    for problem in problems:
        seen[problem.task] += 1
        if limit is None or seen[problem.task] <= limit:
            kept.append(problem)
    return kept


def _planned(session: Session, problems: Iterable[Problem], plan: RunPlan) -> Iterator[Row]:
    samples = session.asking.samples
    if plan.shard is None:
        return (problem_row(problem, samples) for problem in problems)
    return (problem_row(p, samples if plan.shard.holds(p) else 0, whole=samples) for p in problems)


def score(plan: RunPlan, sessions: Sequence[Session], watcher: Watcher) -> Run:
    """Judge and score completions made elsewhere. Samples that belong to no problem of a suite are run, not scored."""
    manifest = manifest_of(plan, sessions)
    works = {session.suite.name: session.given() for session in sessions}
    given: dict[str, Row] = {}
    for items in works.values():
        for work in items:
            given.setdefault(work.problem.key, problem_row(work.problem, 0, outside=work.outside))
    manifest.samples = 1 + max((work.sample for items in works.values() for work in items), default=0)
    _check_texts(plan.out, works)
    with RunFolder(plan.out, manifest, given.values()) as folder:
        turn = _Turn(folder, watcher)
        for session in sessions:
            with contextlib.closing(session):
                turn.take_and_judge(session, works[session.suite.name])
    return finish(plan.out)


def _check_texts(out: Path, works: Mapping[str, Sequence[Work]]) -> None:
    """A folder has one completion of a sample."""
    have = read_completions(out)
    for work in (work for items in works.values() for work in items):
        before = have.get(work.id)
        if before is not None and [turn.text for turn in before] != [turn.text for turn in work.history]:
            where = " ".join(map(str, work.id))
            raise UsageError(f"{out} holds another completion of {where}; choose another --out")


def finish(out: Path) -> Run:
    """The folder as it is now: its scores and tables, written and read by the one scorer."""
    found = read_run(out, empty=True)
    write_scores(found)
    return found


def manifest_of(plan: RunPlan, sessions: Sequence[Session]) -> Manifest:
    """What decided the run, for its folder: versions, profile, argv, and what each suite says of itself."""
    label = next((session.label for session in sessions if session.label), None)
    names = [*(session.suite.name for session in sessions), *plan.refused]
    manifest = Manifest(
        **makers(),
        suites=names,
        profile={"name": plan.profile.name},
        model=plan.model or label,
        limit=plan.limit,
        shard=str(plan.shard) if plan.shard is not None else None,
        argv=list(plan.argv),
        config=plan.config,
        skipped=dict(plan.refused),
    )
    manifest.plan = {name: [plan.ask(1)] for name in plan.refused}
    for session in sessions:
        name, asking = session.suite.name, session.asking
        manifest.with_facts(name, session.describe(), session.options)
        manifest.counts |= {**Counter(problem.task for problem in session.problems()), **session.counts}
        manifest.skipped |= session.skipped
        manifest.plan[name] = [plan.ask(asking.samples)]
        if not plan.files:
            said = {"style": asking.style.value, "sampling": asdict(asking.sampling), "seed": asking.seed}
            manifest.asking[name] = said
    manifest.samples = max((session.asking.samples for session in sessions), default=1)
    return manifest


def _say_if_less(folder: RunFolder, planned: Sequence[Row], watcher: Watcher) -> None:
    """A command that asks less than the folder's plan has must not look like the whole."""
    asked = {(row["task"], row["problem"]): row["samples"] for row in planned}
    more = sum(row["samples"] - min(row["samples"], asked.get(key, 0)) for key, row in folder.problems.items())
    if more:
        total = sum(row["samples"] for row in folder.problems.values())
        watcher.note(f"{folder.path} was asked for more before: {total} samples, {more} of them not now; all are shown")


class _Turn:
    """One suite after the other on an open folder."""

    def __init__(self, folder: RunFolder, watcher: Watcher) -> None:
        self._folder, self._watcher = folder, watcher
        self._have = read_completions(folder.path)
        outcomes = read_outcomes(folder.path)
        # a void is not done: it is tried again
        self._done = {sample: found.key for sample, found in outcomes.items() if found.void is None}
        self._seen = {sample[0] for sample in outcomes}

    def examine(self, session: Session) -> None:
        """The suite's short look before a run begins; one that goes on has passed it."""
        if not any(problem.task in self._seen for problem in session.problems()):
            session.examine()

    def take_and_judge(self, session: Session, works: Sequence[Work]) -> None:
        pending = []
        for work in works:
            if work.id not in self._have:
                for completion in work.history:
                    self._folder.completions.append(completion_row(completion))
            if work.problem.task not in session.skipped and self._done.get(work.id) != session.key(work):
                pending.append(work)
        self._watcher.plan(session.suite.name, 0, len(pending))
        for outcome in session.evaluate(pending):
            self._keep(outcome)

    def ask_and_judge(self, session: Session, problems: Sequence[Problem], generator: Generator) -> None:
        """Ask what completions.jsonl does not hold, turn by turn, and judge what has no outcome."""
        by_id = {(p.task, p.id): p for p in problems if p.task not in session.skipped}
        samples = [(p, s) for p in by_id.values() for s in range(session.asking.samples)]
        ready, requests = [], []
        for problem, sample in samples:
            history = self._have.get((problem.task, problem.id, sample), ())
            request = session.request(problem, sample, history)
            if request is None:
                ready.append(Work(problem=problem, sample=sample, history=history))
            else:
                requests.append(request)
        pending = [work for work in ready if session.key(work) != self._done.get(work.id)]
        self._watcher.plan(session.suite.name, len(requests), len(pending) + len(requests))
        clock = StageClock(session)
        unanswered: list[Outcome] = []

        def fresh() -> Iterator[Work]:
            for work in self._answered(session, by_id, requests, generator, clock):
                if work.failure is not None and not session.judges_parts:
                    void = Void(who=work.failure[0], why=work.failure[1])
                    unanswered.append(work.outcome("void", None, "", void=void))
                else:
                    yield work

        works = overlapped(pending, fresh)
        try:
            for outcome in session.evaluate(works):
                clock.executed()
                self._keep(outcome)
            for outcome in unanswered:
                self._keep(outcome)
            if requests or pending:
                self._folder.stages.append(clock.row())
        finally:
            with contextlib.suppress(ValueError):  # another worker is still waiting in it; it ends with this process
                works.close()

    def _answered(
        self,
        session: Session,
        problems: Mapping[tuple[str, str], Problem],
        requests: Sequence[GenerationRequest],
        generator: Generator,
        clock: StageClock,
    ) -> Iterator[Work]:
        """Dialogues as they become whole, and those that stop short, with who did not answer."""
        while requests:
            following = []
            waiting = {request.id: request for request in requests}
            for answer in clock.generated(generator.generate(requests)):
                completion = replace(answer, turn=waiting.pop(answer.id).turn)
                self._folder.completions.append(completion_row(completion))
                self._watcher.generated(completion)
                work = self._work(problems, completion.id, (completion,))
                further = session.request(work.problem, work.sample, work.history)
                if further is None:
                    yield work
                else:
                    self._have[work.id] = work.history
                    following.append(further)
            for sample in waiting:
                why = generator.failures.get(sample, "no answer came")
                yield replace(self._work(problems, sample), failure=(generator.failed_by, why))
            requests = following

    def _work(
        self, problems: Mapping[tuple[str, str], Problem], sample: SampleId, more: tuple[Completion, ...] = ()
    ) -> Work:
        return Work(problem=problems[sample[:2]], sample=sample[2], history=(*self._have.get(sample, ()), *more))

    def _keep(self, outcome: Outcome) -> None:
        self._folder.executions.append(outcome_row(outcome))
        self._watcher.executed(outcome)


def overlapped(first: Iterable[Work], produce: Callable[[], Iterator[Work]]) -> Generator_[Work, None, None]:
    """`first`, then what `produce` yields in a thread of its own, at most `QUEUE` items ahead."""
    ahead = Ahead(produce, QUEUE)
    try:
        yield from first
        yield from ahead
    finally:
        ahead.close()
