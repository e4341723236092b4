"""The vocabulary: every noun that flows through codecard, frozen and keyed by content.

A reader of this file knows the system: problems are asked, completions come back, programs are executed, outcomes are
journalled, estimates are computed from them, tables show them. Nothing here does I/O and nothing here imports the rest
of the package. Keys are hashes of content, so resuming is a lookup, a new protocol executes again without generating
again, and shards merge by union.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any


class CodecardError(Exception):
    """A failure that is told to the user in one line. `exit_code` is the process's exit code."""

    exit_code = 2


class UsageError(CodecardError):
    """Bad usage or bad input; nothing was written (exit code 2)."""


class InfrastructureError(CodecardError):
    """A part of the machine is missing or broken: engine, image, database (exit code 3).

    The message names the command that mends it.
    """

    exit_code = 3


SampleId = tuple[str, str, int]
"""Task, problem and sample: what names a sample everywhere."""


def suite_of(task: str) -> str:
    """`multipl_e` of `multipl_e/cpp`."""
    return task.split("/", 1)[0]


def cluster_of(problem: str) -> str:
    """`HumanEval_23_strlen` → `HumanEval_23`: the same question in every language. Other names stand for themselves."""
    found = re.match(r"[A-Za-z]+_\d+(?=_|$)", problem)
    return found[0] if found else problem


def content_key(value: object) -> str:
    """Hash of a value's content: 16 hex digits of the sha256 of its canonical JSON."""
    canonical = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"": type(value).__name__, **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


# ---------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """A checker that is source code appended to the completion; the program passes if it ends well."""

    __test__ = False

    language: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldSql:
    """A checker that compares the rows of a query with those of any of the gold queries.

    `queries` are the accepted alternatives, expanded; `source` is the gold as its file has it, which the
    reference comparer reads together with `question` and `category` (the file's own name for it). `ordered`:
    the question asks for an order.
    """

    database: str
    queries: tuple[str, ...]
    ordered: bool = False
    source: str = ""
    question: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """A checker that is a judge with reference answers, one per turn (or none)."""

    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A checker that compares the likelihoods of several continuations."""

    choices: tuple[str, ...]
    gold: int


Checker = Tests | GoldSql | Rubric | Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question of a task.

    `cluster` groups problems that are the same question in several languages (`HumanEval_23`): intervals over
    pooled languages treat a cluster as one observation. `turns` holds the later user turns of a dialogue.
    """

    task: str
    id: str
    cluster: str
    prompt: str
    checker: Checker
    stop_tokens: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return content_key(self)


# ---------------------------------------------------------------- how it is asked


class PromptStyle(StrEnum):
    RAW = "raw"
    """The prompt as it stands; the model continues it."""
    CHAT = "chat"
    """The prompt inside one user turn of the tokenizer's own chat template; code is extracted from the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy.

    `max_total_tokens` counts prompt and completion together, as bigcode-evaluation-harness does
    (`max_length_generation`); `max_new_tokens` counts the completion alone. The tighter one ends a row.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_total_tokens: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a suite asks the model: in which form, how tokens are drawn, and how many samples of a problem."""

    style: PromptStyle
    sampling: Sampling
    seed: int
    samples: int = 1


class FinishReason(StrEnum):
    STOP = "stop"
    """A stop string appeared in the generated text."""
    EOS = "eos"
    LENGTH = "length"
    UNKNOWN = "unknown"
    """Made elsewhere; the reason was not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote after the prompt, never edited (a matched stop string is still in it).

    `style` says whether `text` continues the prompt (raw) or is a chat answer to be extracted from. `turn` counts the
    model's turns of a dialogue from 1.
    """

    task: str
    problem: str
    sample: int
    text: str
    turn: int = 1
    style: PromptStyle = PromptStyle.RAW
    finish_reason: FinishReason = FinishReason.UNKNOWN
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    seconds: float | None = None
    """Seconds from the start of this row's prefill to its last token, shared rows included."""

    @property
    def id(self) -> SampleId:
        return (self.task, self.problem, self.sample)


# ---------------------------------------------------------------- how it is run


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A whole program in one language, made from a completion by a pure rule.

    `proof_at` is the offset in `source` (characters) where the executor may plant the proof that the tests
    ran to their end; None where no such place is known, and then `early_exit` cannot be told.
    """

    language: str
    source: str
    proof_at: int | None = None
    options: tuple[str, ...] = ()
    """Variants of the run command that the profile asks for, e.g. `javatuples`."""

    @property
    def key(self) -> str:
        return content_key(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLimits:
    """Limits of one stage. Seconds, bytes, counts."""

    cpu_s: float
    wall_s: float
    memory_bytes: int = 2 * 1024**3
    pids: int = 256
    open_files: int = 1024
    file_bytes: int = 256 * 1024**2
    output_bytes: int = 16 * 1024**2
    """Bytes on stdout and stderr together after which the program is stopped (`output_limit`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a program; `build` is None for languages without a build stage."""

    run: StageLimits
    build: StageLimits | None = None

    @property
    def key(self) -> str:
        return content_key(self)


class Stage(StrEnum):
    BUILD = "build"
    RUN = "run"


class Verdict(StrEnum):
    """What became of a program. `sandbox_error` is ours, hence void; all others are the program's."""

    PASSED = "passed"
    WRONG = "wrong"
    """An assertion of the tests failed."""
    BUILD_ERROR = "build_error"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    EARLY_EXIT = "early_exit"
    """Ended with status 0 before the tests ran to their end."""
    SANDBOX_ERROR = "sandbox_error"

    @property
    def void(self) -> bool:
        return self is Verdict.SANDBOX_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One program run to its end, with everything that was measured on the way."""

    verdict: Verdict
    stage: Stage = Stage.RUN
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_bytes: int = 0
    stdout: str = ""
    """The first and last 4 KiB, undecodable bytes replaced."""
    stderr: str = ""
    image: str = ""
    """Digest of the image, or `host:` and a hash of the toolchain's versions."""
    attempts: int = 1
    reason: str = ""
    """Why a `sandbox_error` is one, or why a program is blamed for the end of its sandbox; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Why a sample has no value. `who` failed: sandbox, judge, database, server, checkpoint, generator; `missing` where
    nobody was asked yet. `why`: in that one's own words."""

    who: str
    why: str

    def __str__(self) -> str:
        return f"{self.who}: {self.why}" if self.who else self.why


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one sample: a row of executions.jsonl.

    `value`: 1 or 0 where the sample passes or fails; a rating or a share where the suite is `graded`; None where it is
    void. `key`: hash of all that the outcome depends on, so that it need not be made again. `facts` are the suite's
    own: the program, what it printed, the judge's words.
    """

    task: str
    problem: str
    sample: int
    verdict: str
    value: float | None
    void: Void | None = None
    key: str = ""
    graded: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> SampleId:
        return (self.task, self.problem, self.sample)


# ---------------------------------------------------------------- what it is worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One planned sample's value, or void with a reason and who failed. Void is never 0 and never dropped unseen."""

    task: str
    problem: str
    cluster: str
    sample: int
    value: float | None
    void: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval. `n` counts the problems behind it, `void` the samples without a score."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    void: int = 0
    method: str = ""


class Decision(StrEnum):
    """What a paired comparison says. Only NO_REGRESSION opens a gate."""

    REGRESSION = "regression"
    NO_REGRESSION = "no regression"
    INCONCLUSIVE = "inconclusive"
    """The data are whole, but too few to rule a loss beyond the margin in or out."""
    CANNOT_TELL = "cannot tell"
    """Voids or missing problems could turn the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A new run against a base run, paired by problem. Deltas are new minus base, of pass@1 or of ratings.

    `low` and `high` bound delta at 95 %; `p` is Student's, `p_exact` the check that assumes no distribution,
    `p_holm` is `p` adjusted over the tasks compared; `detectable` the true change seen four times in five.
    `gained` and `lost` hold `task:problem` of the problems whose majority verdict turned. `n` counts pairs.
    """

    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    detectable: float | None
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    decision: str = ""
    base: float | None = None
    new: float | None = None
    p_exact: float | None = None
    p_holm: float | None = None
    n: int = 0
    clusters: int = 0
    void: int = 0
    """Pairs without a value on either side, and pairs whose value stands on fewer samples than asked."""
    method: str = ""


Estimates = dict[str, dict[str, Estimate]]
"""Task → metric → estimate; `<suite>/average` beside a suite's tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How numbers of a suite are written: times `scale`, with `digits` decimals, and `sign` behind."""

    scale: float = 1.0
    digits: int = 2
    sign: str = ""

    def text(self, value: float | None) -> str:
        return "–" if value is None else f"{self.scale * value:.{self.digits}f}{self.sign}"

    def interval(self, estimate: Estimate | None) -> str:
        """`.44–.60`, `3.9–7.6`; empty where there is none."""
        if estimate is None or estimate.low is None or estimate.high is None:
            return ""
        low, high = (f"{self.scale * end:.{self.digits}f}" for end in (estimate.low, estimate.high))
        return f"{low}–{high}".replace("0.", ".") if self.scale == 1 and estimate.high <= 1 else f"{low}–{high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """One number of a table with all that stands behind it; `text` in place of a number, such as `skipped`."""

    estimate: Estimate | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A suite's numbers before any renderer: the same text in the terminal, in Markdown and on a page.

    `columns` are headings with the task behind each; `rows` maps a label (a metric, a comparer, a judge) to a cell a
    column. `counts` names what `Estimate.n` counts. `notes` must be read with the numbers.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]
    unit: Unit = Unit()
    counts: str = "problems"
    notes: tuple[str, ...] = ()
