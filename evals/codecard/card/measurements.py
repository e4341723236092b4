"""Measured numbers on their way into a card: from a run's scores or from raw lm-eval outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from codecard.card.markdown import tokens
from codecard.card.reported import ReportedColumn, ReportedTable
from codecard.model import Estimate, Estimates, UsageError
from codecard.settings import bare_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number measured by a run. `model` as the run names it, `name` that of the run or file.

    `variance_at_one` is the variance of pass@1 over new samples of the same problems, from one sample a
    problem; None where the run cannot tell. `samples` counts samples a problem.
    """

    model: str
    name: str
    task: str
    metric: str
    estimate: Estimate
    samples: int = 1
    variance_at_one: float | None = None
    judge: str = ""
    revision: str = ""

    @property
    def value(self) -> Decimal | None:
        """The shortest decimal that is the value, or None where samples are void."""
        if self.estimate.value is None or self.estimate.void:
            return None
        return Decimal(repr(float(self.estimate.value)))


def by_run(measured: Iterable[Measurement]) -> dict[tuple[str, str], list[Measurement]]:
    """The measurements of each run, by its model and its name."""
    runs: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measured:
        runs.setdefault((measurement.model, measurement.name), []).append(measurement)
    return runs


def same_model(spec: str, name: str) -> bool:
    """Whether a run's model is the one named: the same Hub name, letter case aside."""
    return bool(name) and bare_name(spec).casefold() == name.casefold()


def called_like(spec: str, label: str) -> bool:
    """Whether a label is a model's own name: the last part of its path, or a file's stem, marks aside."""
    words = tokens(bare_name(spec).rstrip("/").rsplit("/", 1)[-1].replace("_", " "))
    return bool(words) and words == tokens(label)


def estimates_of(scores: Mapping[str, Any], where: str) -> Estimates:
    """The contents of a run's scores.json. Raises UsageError where it has another shape."""
    found: Estimates = {}
    try:
        for task, metrics in scores.items():
            for metric, fields in metrics.items():
                found.setdefault(task, {})[metric] = Estimate(
                    value=fields["value"],
                    low=fields.get("low"),
                    high=fields.get("high"),
                    n=int(fields["n"]),
                    void=int(fields.get("void") or 0),
                    method=str(fields.get("method", "")),
                )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: not the scores of a run: {error!r}") from error
    return found


def find_measurement(found: Iterable[Measurement], column: ReportedColumn) -> Measurement | None:
    """The measurement of a column's task and metric; the last one given wins.

    Zero-shot tasks have one metric each in the table; a raw output is read by it already.
    """
    own = [measurement for measurement in found if measurement.task == column.task]
    one_metric = column.task.startswith("zero_shot/")
    return next((m for m in reversed(own) if one_metric or m.metric == column.metric), None)


def why_not_whole(measurement: Measurement, column: ReportedColumn) -> str:
    """Why a measurement does not stand for a column, or nothing: voids, too few or other questions."""
    estimate = measurement.estimate
    if estimate.value is None or estimate.void:
        return f"{estimate.void} of its samples are void" if estimate.void else "it has no value"
    if column.questions is not None and estimate.n != column.questions:
        return f"measured on {estimate.n} questions, the column has {column.questions}"
    return ""


def value_for(column: ReportedColumn, table: ReportedTable, found: Sequence[Measurement]) -> Decimal | None:
    """The exact value that stands for a column, or None; an average is taken from the unrounded values of its parts."""
    if column.average:
        values = [value_for(part, table, found) for part in table.parts]
        known = [value for value in values if value is not None]
        return sum(known, Decimal(0)) / len(known) if len(known) == len(values) else None
    measurement = find_measurement(found, column)
    return None if measurement is None or why_not_whole(measurement, column) else measurement.value
