"""The port of a suite: what is asked, how an answer is judged, and how its numbers are written.

A `Suite` is a definition: it opens nothing, so that a report of its numbers needs no model, no sandbox and no database.
`open` gives a `Session`, which asks and judges. The pipeline, the folder, merging, planning, comparing and reporting
know suites by these two classes alone. A suite of one's own is a subclass of each, named by the entry point
`codecard.suites`; one whose answers are programs with tests is a folder of TOML files (docs/extending.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.files import Row
from codecard.generate.port import GenerationRequest, Message
from codecard.model import (
    Asking,
    Completion,
    Estimates,
    Outcome,
    Problem,
    PromptStyle,
    SampleId,
    Sampling,
    Score,
    Table,
    TableCell,
    Unit,
    UsageError,
    Void,
    content_key,
)
from codecard.settings import Options, Profile
from codecard.stats import summarise

if TYPE_CHECKING:
    from codecard.cluster import Cluster
    from codecard.generate import Generator, Opening
    from codecard.settings import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A sample to be judged: what the model wrote, turn by turn.

    `source`: a whole program or query given from outside, taken as it stands. `label`: the sample's own name in the
    file it came from. `outside`: it belongs to no problem of the suite; it is run, and in no score. `failure`: who did
    not answer the next turn, and why (`Session.judges_parts`).
    """

    problem: Problem
    sample: int
    history: tuple[Completion, ...]
    source: str | None = None
    label: str = ""
    outside: bool = False
    failure: tuple[str, str] | None = None

    @property
    def id(self) -> SampleId:
        return (self.problem.task, self.problem.id, self.sample)

    @property
    def completion(self) -> Completion:
        """The model's last turn."""
        return self.history[-1]

    def outcome(
        self,
        verdict: str,
        value: float | None,
        key: str,
        *,
        void: Void | None = None,
        graded: bool = False,
        **facts: Any,
    ) -> Outcome:
        """What became of it; the sample's own name is kept among the facts."""
        task, problem, sample = self.id
        named = facts | ({"id": self.label} if self.label else {})
        return Outcome(
            task=task, problem=problem, sample=sample, verdict=verdict, value=value, void=void, key=key, graded=graded,
            facts=named,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the user wants models asked, in place of the profile's way; None leaves it."""

    prompt_style: PromptStyle | None = None
    samples: int | None = None
    temperature: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a suite is opened in: the user's choices that are no suite's own, and the machine.

    `model` None: completions come from files. `parts`: only these parts of a suite (languages, for suites that have
    some). `folder`: where the run is kept, for a suite that has a journal of its own. `say` tells the user a line.
    """

    profile: Profile
    model: ModelSpec | None = None
    asked: Asked = Asked()
    data_dir: Path | None = None
    parts: frozenset[str] | None = None
    workers: int | None = None
    sandbox: str | None = None
    cluster: Cluster | None = None
    folder: Path | None = None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a session says of itself for the manifest; each part has one role.

    `data`: task → hash of its problems. `limits`: task → key of the limits of its programs. `images`, `toolchains`: by
    language. `identity`: all else that decides what is asked or what counts as right; resuming under another is
    refused. `comparable`: what besides two runs must share to be compared. `warned`: what may move a number. `noted`:
    of the moment, deciding nothing.
    """

    data: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    toolchains: Mapping[str, str] = field(default_factory=dict)
    sandbox: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    comparable: Mapping[str, Any] = field(default_factory=dict)
    warned: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What a suite expects of a run, for planning: means a request, in tokens and seconds.

    `questions` by task; `parallel`: the tasks ask the same problems, in several languages. `turns` of the model a
    question. `choices`: continuations scored a document, where nothing is generated. `detectable` names the value.
    """

    questions: Mapping[str, int]
    prompt_tokens: Mapping[str, float]
    new_tokens: float = 0.0
    max_new_tokens: int = 0
    seconds: float = 0.0
    turns: int = 1
    parallel: bool = False
    choices: Mapping[str, int] = field(default_factory=dict)
    judge_prompt_tokens: float = 0.0
    judge_new_tokens: float = 0.0
    detectable: str = "pass@1"


def request_of(
    asking: Asking,
    problem: Problem,
    sample: int,
    prompt: str | Sequence[Message],
    *,
    stops: Sequence[str] = (),
    turn: int = 1,
) -> GenerationRequest:
    """A request in a suite's way of asking."""
    return GenerationRequest(
        task=problem.task,
        problem=problem.id,
        sample=sample,
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),
        stops=tuple(stops),
        sampling=asking.sampling,
        seed=asking.seed,
        turn=turn,
    )


class Session(ABC):
    """A suite opened in a setting: it has its problems, asks, and judges. `close` it after use."""

    asking: Asking
    options: Any
    """An instance of the suite's `options`."""
    skipped: Mapping[str, str] = {}
    """Task → reason, for tasks that cannot run on this machine: their samples are void, and it is said."""
    label = ""
    """Whose completions they are, as the files given tell."""
    judges_parts = False
    """A sample whose later turn was not answered is judged as far as it goes."""
    counts: Mapping[str, int] = {}
    """Task → problems that it should have, where `problems` may have fewer."""
    workers: int | None = None
    busy_s: float | None = None
    """Seconds that the workers, all together, were at work; None where that is not known."""

    def __init__(self, suite: Suite, asking: Asking, options: Any = None) -> None:
        self.suite = suite
        self.asking = asking
        self.options = Options() if options is None else options

    @abstractmethod
    def problems(self) -> list[Problem]:
        """All of them, in their order; which of them a run asks is not the suite's business."""

    @abstractmethod
    def request(self, problem: Problem, sample: int, history: Sequence[Completion]) -> GenerationRequest | None:
        """What the model is asked next, after the turns in `history`; None where the dialogue is whole."""

    @abstractmethod
    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """One outcome a sample, in any order, as they are found. Never raises for what a model wrote."""

    def key(self, work: Work) -> str:
        """Hash of all that an outcome depends on: one with the same key need not be made again."""
        return content_key([work.problem.key, [turn.text for turn in work.history], work.source])

    def counted(self, outcome: Outcome) -> float | None:
        """The value of an outcome with the same key under this session's options."""
        return outcome.value

    def describe(self) -> Facts:
        return Facts(data=data_hashes(self.problems()))

    def given(self) -> list[Work]:
        """The samples of the files that the session was opened with."""
        return []

    def generator(self, model: ModelSpec, opening: Opening) -> Generator | None:
        """A generator of the suite's own, where the run's common one does not serve."""
        return None

    def examine(self) -> None:
        """A short look, before a run begins, at whether judging works. Raises InfrastructureError where it does not."""
        return

    def notes(self) -> list[str]:
        """What a reader must know of this session's results, in sentences."""
        return []

    def close(self) -> None:
        return None


class Suite(ABC):
    """A suite's definition. `title` heads its table.

    `options`: its own settings, read from the profile's section of its `kind`, then of its `name`, then from the user
    (`--set NAME.OPTION=VALUE`). `shards`: its problems may be split over processes. `sampled`: several samples of a
    problem make sense. `local`: it must run in this process, not on a cluster. `scale`: the lowest and the highest
    rating, where values are ratings and not passes.
    """

    name: str
    kind: str = ""
    title: str = ""
    summary: str = ""
    options: type[Options] = Options
    shards = True
    sampled = True
    local = False
    scale: tuple[float, float] | None = None
    unit = Unit()
    counts = "problems"
    average = "Avg"
    hashed_as_limited = False
    """Version 0.1 hashed only the problems that a limit left."""

    @abstractmethod
    def open(self, setting: Setting, options: Any, files: Sequence[Path] = ()) -> Session:
        """Raises UsageError or InfrastructureError, in one line, where it cannot run here."""

    def asking(self, setting: Setting, options: Any) -> Asking:
        """How the suite asks: greedy in chat form unless it knows better or the user wants it otherwise."""
        asked = setting.asked
        sampling = Sampling(
            temperature=asked.temperature or 0.0, max_new_tokens=asked.max_new_tokens or options.max_new_tokens
        )
        style = asked.prompt_style or PromptStyle.CHAT
        return Asking(style=style, sampling=sampling, seed=asked.seed or 0, samples=asked.samples or 1)

    def configured(self, profile: Profile, given: Mapping[str, Any] | None = None) -> Any:
        """The suite's options under a profile with the user's changes. UsageError names a bad one."""
        return profile.options(self.options, self.kind, self.name, given or {})

    def tasks(self) -> dict[str, str]:
        """Task → heading, in the order of the table; empty where the outcomes' own order serves."""
        return {}

    def typical(self, setting: Setting, options: Any) -> list[GenerationRequest]:
        """Requests as a run would make them, from data that are at hand; nothing is opened for it."""
        return []

    def lengths(self, options: Any) -> Lengths:
        """Raises UsageError where nothing is known of them."""
        raise UsageError(f"suite {self.name} says nothing of its lengths")

    def summarise(self, scores: Sequence[Score], outcomes: Mapping[SampleId, Outcome], facts: Row) -> Estimates:
        """Estimates of each task from all planned samples. Pure. `facts`: what the manifest keeps of the suite."""
        return summarise(scores, rated=self.scale is not None)

    def metrics(self, estimates: Estimates) -> list[tuple[str, str]]:
        """(label, metric) of the rows of the table."""
        names = dict.fromkeys(name for found in estimates.values() for name in found)
        return [(name, name) for name in names]

    def table(self, estimates: Estimates, skipped: Mapping[str, str], facts: Row) -> Table:
        """The suite's table: its tasks side by side, a row a metric."""
        known = self.tasks()
        shown = {task: known.get(task) or task.split("/", 1)[-1] for task in [*known, *estimates]}
        average = f"{self.name}/average"
        present = {task: title for task, title in shown.items() if task in estimates or task in skipped}
        if average in estimates:
            present = {average: self.average} | {task: title for task, title in present.items() if task != average}
        rows = [
            (label, tuple(_cell(estimates, skipped, task, metric) for task in present))
            for label, metric in self.metrics(estimates)
        ]
        return Table(
            title=self.title or self.name,
            columns=tuple((title, task) for task, title in present.items()),
            rows=tuple(rows),
            unit=self.unit,
            counts=self.counts,
            notes=tuple(self.remarks(facts)),
        )

    def remarks(self, facts: Row) -> list[str]:
        """What a reader of a folder must know of the suite's numbers, from what the manifest keeps."""
        return []

    def outcome_remarks(self, outcomes: Iterable[Outcome], facts: Row) -> list[str]:
        """What a reader must know that the outcomes alone tell."""
        return []

    def diagnose_database(self, url: str | None) -> list[Any]:
        """What is found of the database that the suite judges on, with `name`, `fine` and `seen` each."""
        return []

    def assumed(self, values: Mapping[str, Any]) -> Row:
        """What a card's assumptions (`codecard.card.assumptions`, by name) mean for a run of this suite, as fields of a
        run's configuration."""
        return {}

    def old_facts(self, manifest: Row) -> Row:
        """The suite's facts, by part, out of a manifest that version 0.1 wrote."""
        return {}

    def limits_text(self, task: str, key: str, profile: str) -> str:
        """The limits of a task's programs in words; the bare key where today's definitions give others."""
        return key


def _cell(estimates: Estimates, skipped: Mapping[str, str], task: str, metric: str) -> TableCell:
    if task in skipped:
        return TableCell(text="skipped")
    return TableCell(estimate=estimates.get(task, {}).get(metric))


def data_hashes(problems: Iterable[Problem]) -> dict[str, str]:
    """Task → hash of its problems, in their order."""
    keys: dict[str, list[str]] = {}
    for problem in problems:
        keys.setdefault(problem.task, []).append(problem.key)
    return {task: content_key(found) for task, found in keys.items()}
