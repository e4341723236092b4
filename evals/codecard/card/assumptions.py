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


@dataclass(frozen=True, slots=True)
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
        "py_task", MULTIPL_E, "task of the Python column", "multiple-py",
        choices=("multiple-py", "humaneval", "humanevalsynthesize"), runs=("multiple-py",),
    ),
    Assumption(
        "prompt_style", MULTIPL_E, "prompt", "raw",
        choices=("raw", "chat", "chat-deepseek", "chat-full", "chatml-prefill"), runs=("raw", "chat"),
    ),
    Assumption("samples", MULTIPL_E, "samples a problem", 50, old="--n-samples"),
    Assumption("assumed_reported_n", MULTIPL_E, "samples behind the published values", 20),
    Assumption(
        "multipl_e_revision", MULTIPL_E, "data set revision", "d23b094",
        choices=("d23b094", "v3.0", "v3.1", "head"), runs=("d23b094",),
    ),
    Assumption("max_length", MULTIPL_E, "tokens of prompt and completion", 512, runs=("512",)),
    Assumption("max_new_tokens", MULTIPL_E, "tokens of a completion", None),
    Assumption("dtype", MULTIPL_E, "precision", "bfloat16", choices=("bfloat16", "float16", "float32")),
    Assumption("greedy", MULTIPL_E, "greedy instead of T 0.2, top-p 0.95", False),
    Assumption(
        "card_usage_sampling", MULTIPL_E, "sampling of the card's usage example (T 0.5, top-p 0.95, top-k 100)",
        False, runs=("False",),
    ),
    Assumption(
        "emulate_bigcode_tempdir", MULTIPL_E, "averaging of stale results, as the reference does",
        False, runs=("False",),
    ),
    Assumption("time_scale", MULTIPL_E, "factor on the reference's time limits", 1.0, runs=("1.0",)),
    Assumption(
        "model_index", CARD, "the card's model-index (values of the base model)", "keep",
        choices=("keep", "replace", "drop"),
    ),
    Assumption("judge", MT_BENCH, "judge", "gpt-4-0613"),
    Assumption("judge_base_url", MT_BENCH, "the judge's server", None, old="--judge-endpoint"),
    Assumption("references", MT_BENCH, "reference answers", "gpt-4", choices=("gpt-4", "gpt-4-0125-preview")),
    Assumption("fastchat_regex", MT_BENCH, "ratings read by FastChat's own rule", False),
    Assumption("allow_missing", MT_BENCH, "a score with ratings missing", False),
    Assumption("template", MT_BENCH, "conversation template", "tokenizer", runs=("tokenizer",)),
    Assumption("system", MT_BENCH, "system message", ""),
    Assumption(
        "sql_version", SQL, "version of sql-eval", "2024-03-06",
        choices=("2024-03-06", "2024-03-08", "head"), runs=("2024-03-06", "head"),
    ),
    Assumption("sql_prompt", SQL, "SQL prompt", "generic", choices=("generic", "sqlcoder7b2", "chat")),
    Assumption("num_columns", SQL, "columns the schema is pruned to", None),
    Assumption("num_beams", SQL, "beams", "4", choices=("1", "4", "dynamic"), runs=("1",)),
    Assumption("percent_format", SQL, "rounding of percentages", "row", choices=("row", "round1", "trunc1")),
    Assumption("measure_quoted_rows", CARD, "rows quoted from elsewhere are judged too", False),
    Assumption("as_of", SQL, "date of CURRENT_DATE", None),
    Assumption(
        "siqa", ZERO_SHOT, "SIQA prompt", "346e2c22", choices=("346e2c22", "paper", "stock"), runs=("346e2c22",)
    ),
    Assumption("add_bos", ZERO_SHOT, "a BOS token before the prompt", False),
    Assumption("row_model", CARD, "models behind the rows, LABEL=MODEL", "as published"),
)  # fmt: skip


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
