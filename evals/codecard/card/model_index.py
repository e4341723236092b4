"""Measured numbers as metadata: the `model-index` of a card's front matter, and `.eval_results` files.

Entries always carry config, split and revision where the data set has them, so that huggingface_hub keeps
them apart. What is written is read back with huggingface_hub's own loader before it is handed out.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from codecard.card.frontmatter import IndexEntry, front_matter, index_entries
from codecard.card.markdown import put_pieces, tokens
from codecard.card.measurements import Measurement, same_model
from codecard.card.numbers import Rounding, format_value
from codecard.model import InfrastructureError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class HubTask:
    """How a task is named in metadata. A value is shown times `scale`, with `decimals`.

    `questions` are all of the task's: a number from fewer is not written.
    """

    task: str
    questions: int
    metric: str
    task_type: str
    dataset: str
    name: str
    split: str
    metric_name: str
    metric_type: str
    config: str = ""
    revision: str = ""
    scale: int = 100
    decimals: int = 1
    hub: bool = False

    def keys(self, revision: str = "") -> dict[str, str]:
        """config, split and revision, those that are known; a run's own revision goes first."""
        found = {"config": self.config, "split": self.split, "revision": revision or self.revision}
        return {key: value for key, value in found.items() if value}

    def digits(self, value: Decimal) -> str:
        return format_value(value * self.scale, self.decimals, Rounding.NEAREST)


def load_hub_tasks(file: Path) -> tuple[HubTask, ...]:
    """The names of all tasks in metadata, from `model_index.toml`."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        return tuple(HubTask(**entry) for entry in raw["tasks"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not the names of tasks in metadata: {error}") from error


def model_index(model: str, measured: Iterable[Measurement], names: tuple[HubTask, ...]) -> str:
    """The `model-index` YAML of one model, one result a task, in the order of `names`.

    Void and partial measurements are left out. Raises UsageError where nothing is left.
    """
    results = []
    for task, measurement, value in _known(measured, names):
        dataset = {"type": task.dataset, "name": task.name} | task.keys(measurement.revision)
        shown = float(task.digits(value))
        metric = {"name": task.metric_name, "type": task.metric_type, "value": shown, "verified": False}
        results.append({"task": {"type": task.task_type}, "dataset": dataset, "metrics": [metric]})
    text = _dump({"model-index": [{"name": model, "results": results}]})
    _check_model_index(text, len(results))
    return text


def eval_results(measured: Iterable[Measurement], names: tuple[HubTask, ...], notes: str = "") -> str:
    """The `.eval_results` YAML of one run: tasks whose data sets are repositories on the Hub."""
    entries = []
    for task, measurement, value in _known(measured, names):
        if not task.hub:
            continue
        dataset = {"id": task.dataset, "task_id": task.config or task.name}
        if revision := measurement.revision or task.revision:
            dataset["revision"] = revision
        entry = {"dataset": dataset, "value": float(task.digits(value))}
        entries.append(entry | ({"notes": notes} if notes else {}))
    if not entries:
        raise UsageError("no measured task has its data set on the Hub: nothing to write for .eval_results")
    text = _dump(entries)
    _check_eval_results(text, len(entries))
    return text


def put_model_index(
    document: str, measured: Iterable[Measurement], names: tuple[HubTask, ...], policy: str = "replace"
) -> str:
    """Edit a card's model-index in place: measured entries get their value and their config, split, revision.

    `policy`: `keep` leaves it, `replace` writes the entries that were measured for the card's model, `drop`
    removes the whole model-index. Comments, order and everything else stay byte for byte.
    """
    if policy not in ("keep", "replace", "drop"):
        raise UsageError(f"--model-index is keep, replace or drop, not {policy!r}")
    if policy == "keep":
        return document
    if policy == "drop":
        return _without_index(document)
    given = list(measured)
    changes: dict[tuple[int, int], str] = {}
    for entry in index_entries(document):
        task = _task_of(entry, names)
        own = [m for m in given if m.value is not None and same_model(m.model, entry.model)]
        measurement = _last_whole(own, task) if task else None
        if task is None or measurement is None:
            continue
        changes[entry.value_at] = _value_text(entry, task, measurement)
        keys = task.keys(measurement.revision)
        changes |= {entry.dataset_at[key]: value for key, value in keys.items() if key in entry.dataset_at}
        added = [f"{key}: {value}" for key, value in keys.items() if key not in entry.dataset_at]
        if added:
            place = (entry.insert_at, entry.insert_at)
            changes[place] = "".join(entry.insert_before + text for text in added)
    return put_pieces(document, changes)


def _known(measured: Iterable[Measurement], names: tuple[HubTask, ...]) -> list[tuple[HubTask, Measurement, Decimal]]:
    given = list(measured)
    lasts = ((task, _last_whole(given, task)) for task in names)
    found = [(task, last, last.value) for task, last in lasts if last and last.value is not None]
    if not found:
        raise UsageError("nothing to write: no task of these runs was measured whole and without voids")
    return found


def _last_whole(given: list[Measurement], task: HubTask) -> Measurement | None:
    """The last measurement of a task, where it has a value and stands on all of the questions."""
    last = next((m for m in reversed(given) if m.task == task.task and m.metric in (task.metric, "")), None)
    return last if last and last.value is not None and last.estimate.n == task.questions else None


def _task_of(entry: IndexEntry, names: tuple[HubTask, ...]) -> HubTask | None:
    """The task an entry is about: by its data set's config, else by its name."""
    for task in names:
        same_set = entry.dataset.get("type", "").casefold() == task.dataset.casefold()
        if same_set and "config" in entry.dataset and entry.dataset["config"] == task.config:
            return task
    wanted = tokens(entry.title)
    return next((task for task in names if tokens(task.name) == wanted), None)


def _value_text(entry: IndexEntry, task: HubTask, measurement: Measurement) -> str:
    """The new value in the entry's own unit and decimals: a value up to 1 is a fraction, above it percent."""
    value = measurement.value or Decimal(0)
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?", entry.value):
        return task.digits(value)
    scale = 1 if task.scale == 100 and Decimal(entry.value) <= 1 else task.scale
    return format_value(value * scale, len(entry.value.partition(".")[2]), Rounding.NEAREST)


def _without_index(document: str) -> str:
    text, start = front_matter(document)
    lines = text.splitlines(keepends=True)
    kept, inside = [], False
    for line in lines:
        if line.startswith("model-index:"):
            inside = True
        elif inside and line.strip() and not line.startswith((" ", "-", "#")):
            inside = False
        if not inside:
            kept.append(line)
    return document[:start] + "".join(kept) + document[start + len(text) :]


def _dump(value: object) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


def _load(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def _check_model_index(text: str, expected: int) -> None:
    """Read with huggingface_hub's own reader and write again: entries that would be merged raise UsageError."""
    try:
        from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
    except ImportError as error:
        raise InfrastructureError(
            "checking a card's metadata needs huggingface_hub: pip install 'codecard[card]'"
        ) from error
    index = _load(text)["model-index"]
    again = eval_results_to_model_index(*model_index_to_eval_results(index))
    read, written = (sum(len(entry["results"]) for entry in found) for found in (index, again))
    if not expected == read == written:
        raise UsageError(f"huggingface_hub would merge the {read} results of the model-index into {written}")


def _check_eval_results(text: str, expected: int) -> None:
    try:
        from huggingface_hub import parse_eval_result_entries
    except ImportError as error:
        raise InfrastructureError(
            "checking .eval_results needs huggingface_hub: pip install 'codecard[card]'"
        ) from error
    found = len(parse_eval_result_entries(_load(text)))
    if found != expected:
        raise UsageError(f"huggingface_hub reads {found} of {expected} .eval_results entries")
