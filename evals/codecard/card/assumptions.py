"""What a card leaves open, what is assumed, and the flag that assumes otherwise.

Every number of a card rests on settings that it does not state. Each is listed with its default, is a flag of
`codecard reproduce`, and is printed with the tables it bears on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codecard.model import UsageError
from codecard.settings import DTYPES

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One open question. `choices` are the values that are known; empty means any value of the default's type.

    `runs` are those that codecard can run itself; another choice describes runs made elsewhere. Empty: all.
    """

    name: str
    suite: str
    question: str
    default: Value
    choices: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    old: str = ""
    """The flag's name in version 0.1."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def checked(self, value: Value) -> Value:
        """The value, or UsageError with what is known."""
        value = DTYPES.get(str(value), value) if self.name == "dtype" else value
        if self.choices and str(value) not in self.choices:
            raise UsageError(f"{self.flag} is one of {', '.join(self.choices)}, not {value!r}")
        return value

    def shown(self, value: Value) -> str:
        """`Python column: multiple-py (--py-task)`, and the default where it was changed."""
        said = "none" if value is None else ("yes" if value else "no") if isinstance(value, bool) else value
        changed = f"; default {self.default}" if value != self.default else ""
        if self.runs and str(self.default) not in self.runs and value == self.default:
            changed = f"; runs made here use {self.runs[0]}"
        return f"{self.question}: {said} ({self.flag}{changed})"


MULTIPL_E, MT_BENCH, SQL, ZERO_SHOT, CARD = "multipl_e", "mt_bench", "sql", "zero_shot", "card"

ASSUMPTIONS = (
    Assumption(
        name="py_task",
        suite=MULTIPL_E,
        question="task of the Python column",
        default="multiple-py",
        choices=("multiple-py", "humaneval", "humanevalsynthesize"),
        runs=("multiple-py",),
    ),
    Assumption(
        name="prompt_style",
        suite=MULTIPL_E,
        question="prompt",
        default="raw",
        choices=("raw", "chat", "chat-deepseek", "chat-full", "chatml-prefill"),
        runs=("raw", "chat"),
    ),
    Assumption(name="samples", suite=MULTIPL_E, question="samples a problem", default=50, old="--n-samples"),
    Assumption(name="assumed_reported_n", suite=MULTIPL_E, question="samples behind the published values", default=20),
    Assumption(
        name="multipl_e_revision",
        suite=MULTIPL_E,
        question="data set revision",
        default="d23b094",
        choices=("d23b094", "v3.0", "v3.1", "head"),
        runs=("d23b094",),
    ),
    Assumption(
        name="max_length", suite=MULTIPL_E, question="tokens of prompt and completion", default=512, runs=("512",)
    ),
    Assumption(name="max_new_tokens", suite=MULTIPL_E, question="tokens of a completion", default=None),
    Assumption(
        name="dtype",
        suite=MULTIPL_E,
        question="precision",
        default="bfloat16",
        choices=("bfloat16", "float16", "float32"),
    ),
    Assumption(name="greedy", suite=MULTIPL_E, question="greedy instead of T 0.2, top-p 0.95", default=False),
    Assumption(
        name="card_usage_sampling",
        suite=MULTIPL_E,
        question="sampling of the card's usage example (T 0.5, top-p 0.95, top-k 100)",
        default=False,
        runs=("False",),
    ),
    Assumption(
        name="emulate_bigcode_tempdir",
        suite=MULTIPL_E,
        question="averaging of stale results, as the reference does",
        default=False,
        runs=("False",),
    ),
    Assumption(
        name="time_scale", suite=MULTIPL_E, question="factor on the reference's time limits", default=1.0, runs=("1.0",)
    ),
    Assumption(
        name="model_index",
        suite=CARD,
        question="the card's model-index (values of the base model)",
        default="keep",
        choices=("keep", "replace", "drop"),
    ),
    Assumption(name="judge", suite=MT_BENCH, question="judge", default="gpt-4-0613"),
    Assumption(
        name="judge_base_url", suite=MT_BENCH, question="the judge's server", default=None, old="--judge-endpoint"
    ),
    Assumption(
        name="references",
        suite=MT_BENCH,
        question="reference answers",
        default="gpt-4",
        choices=("gpt-4", "gpt-4-0125-preview"),
    ),
    Assumption(name="fastchat_regex", suite=MT_BENCH, question="ratings read by FastChat's own rule", default=False),
    Assumption(name="allow_missing", suite=MT_BENCH, question="a score with ratings missing", default=False),
    Assumption(
        name="template", suite=MT_BENCH, question="conversation template", default="tokenizer", runs=("tokenizer",)
    ),
    Assumption(name="system", suite=MT_BENCH, question="system message", default=""),
    Assumption(
        name="sql_version",
        suite=SQL,
        question="version of sql-eval",
        default="2024-03-06",
        choices=("2024-03-06", "2024-03-08", "head"),
        runs=("2024-03-06", "head"),
    ),
    Assumption(
        name="sql_prompt",
        suite=SQL,
        question="SQL prompt",
        default="generic",
        choices=("generic", "sqlcoder7b2", "chat"),
        runs=("generic", "sqlcoder7b2", "chat"),
    ),
    Assumption(name="num_columns", suite=SQL, question="columns the schema is pruned to", default=None),
    Assumption(name="num_beams", suite=SQL, question="beams", default="4", choices=("1", "4", "dynamic"), runs=("1",)),
    Assumption(
        name="percent_format",
        suite=SQL,
        question="rounding of percentages",
        default="row",
        choices=("row", "round1", "trunc1"),
    ),
    Assumption(
        name="measure_quoted_rows", suite=CARD, question="rows quoted from elsewhere are judged too", default=False
    ),
    Assumption(name="as_of", suite=SQL, question="date of CURRENT_DATE", default=None),
    Assumption(
        name="siqa",
        suite=ZERO_SHOT,
        question="SIQA prompt",
        default="346e2c22",
        choices=("346e2c22", "paper", "stock"),
        runs=("346e2c22",),
    ),
    Assumption(name="add_bos", suite=ZERO_SHOT, question="a BOS token before the prompt", default=False),
    Assumption(name="row_model", suite=CARD, question="models behind the rows, LABEL=MODEL", default="as published"),
)


def checked_assumptions(given: Mapping[str, Value]) -> dict[str, Value]:
    """Every assumption's value: as given or its default. Raises UsageError for a value that is not known."""
    return {a.name: a.checked(given.get(a.name, a.default)) for a in ASSUMPTIONS}


def assumptions_of(suite: str, values: Mapping[str, Value]) -> list[str]:
    """The assumptions that bear on a suite's table, one line each."""
    return [a.shown(values[a.name]) for a in ASSUMPTIONS if a.suite in (suite, CARD)]


def refuse_what_cannot_run(suite: str, values: Mapping[str, Value]) -> None:
    """Raises UsageError for a choice that codecard does not run itself, with what it runs.

    A default that is not run here either (four beams) is not refused: the report says what the run did.
    """
    for assumption in ASSUMPTIONS:
        value = str(values[assumption.name])
        asked = value != str(assumption.default)
        if assumption.suite == suite and assumption.runs and asked and value not in assumption.runs:
            raise UsageError(
                f"{assumption.flag} {value} is not run here ({', '.join(assumption.runs)} is); "
                "make that run elsewhere and give it with --with"
            )
