"""What two runs must share before their difference means anything, and baselines, a run's smallest form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.files import read_json, write_text
from codecard.model import Score, UsageError, cluster_of
from codecard.runs.folder import brief
from codecard.runs.manifest import COMPARABLE, WARNED, Manifest
from codecard.runs.reading import Run, read_run, scores_json
from codecard.text import unknown

BASELINE_FORMAT = "codecard-baseline-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What a comparison needs of a run or of a baseline."""

    name: str
    manifest: Manifest
    scores: tuple[Score, ...]

    @classmethod
    def of(cls, run: Run) -> Side:
        return cls(name=run.name, manifest=run.manifest, scores=run.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One field in which two runs differ."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.base} against {self.new}"


def check_comparable(base: Side, new: Side, ignore: tuple[str, ...] = ()) -> list[Mismatch]:
    """The differences to warn of. Raises UsageError naming the field when one forbids the comparison.

    `ignore` names fields whose difference is only told. Runs without a common task are always refused.
    """
    tasks = [{score.task for score in side.scores} for side in (base, new)]
    if not tasks[0] & tasks[1]:
        raise UsageError(f"nothing to compare: {base.name} has {_list(tasks[0])}, {new.name} has {_list(tasks[1])}")
    forbidding = [Mismatch(field="tasks", base=_list(tasks[0]), new=_list(tasks[1]))] if tasks[0] != tasks[1] else []
    forbidding += _differences(base, new, COMPARABLE)
    telling = [found for found in _differences(base, new, WARNED) if found.field not in {m.field for m in forbidding}]
    for mismatch in forbidding:
        if not any(_names(mismatch.field, name) for name in ignore):
            field = mismatch.field.split(".")[0]
            raise UsageError(f"not comparable: the runs differ in {mismatch}; --ignore {field} compares them anyway")
    return forbidding + telling


def _differences(base: Side, new: Side, role: Any) -> list[Mismatch]:
    old, now = base.manifest.leaves(role), new.manifest.leaves(role)
    return [
        Mismatch(field=path, base=brief(old[path]), new=brief(now[path]))
        for path in old
        if path in now and old[path] != now[path]
    ]


def _names(path: str, given: str) -> bool:
    """Whether `--ignore given` means this field: its beginning, or one of its parts."""
    return path == given or path.startswith(f"{given}.") or given in path.split(".")


def _list(tasks: set[str]) -> str:
    return ", ".join(sorted(tasks)) or "nothing"


# ---------------------------------------------------------------- baselines


def read_side(path: Path) -> Side:
    """A run folder, or a baseline file."""
    return read_baseline(path) if path.is_file() else Side.of(read_run(path))


def write_baseline(run: Run, path: Path, name: str) -> None:
    """One small file: the kept part of the manifest, the scores, and each problem's outcomes.

    A problem's outcomes are one character a sample (`1` passed, `0` not, `v` void, `-` no such sample), or a
    list of values; one line a problem, so that a new baseline is a readable diff. `clusters` holds those that
    a problem's name does not tell.
    """
    row = run.manifest.row()
    kept = {f.name: row[f.name] for f in dataclasses.fields(Manifest) if f.metadata["baseline"] or f.name == "format"}
    by_task: dict[str, dict[str, list[Score]]] = {}
    clusters: dict[str, str] = {}
    for score in run.samples:
        if score.cluster != cluster_of(score.problem):
            clusters[score.problem] = score.cluster
        by_task.setdefault(score.task, {}).setdefault(score.problem, []).append(score)
    tasks = []
    for task, problems in by_task.items():
        lines = ",\n".join(f"  {json.dumps(p)}: {json.dumps(_encode(s))}" for p, s in problems.items())
        tasks.append(f" {json.dumps(task)}: {{\n{lines}\n }}")
    scores = scores_json(run.estimates)
    head = {"format": BASELINE_FORMAT, "name": name, "manifest": kept, "scores": scores, "clusters": clusters}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    write_text(path, f'{text},\n "outcomes": {{\n' + ",\n".join(tasks) + "\n }\n}\n")


def read_baseline(path: Path) -> Side:
    """Raises UsageError when the file is no baseline of this format."""
    raw = read_json(path)
    if raw.get("format") != BASELINE_FORMAT:
        raise UsageError(f"{path}: not a baseline ({BASELINE_FORMAT}); `codecard baseline save` writes one")
    try:
        scores = tuple(
            score
            for task, problems in raw["outcomes"].items()
            for problem, encoded in problems.items()
            for score in _decode(task, problem, raw.get("clusters", {}).get(problem) or cluster_of(problem), encoded)
        )
        return Side(name=str(raw["name"]), manifest=Manifest.read(dict(raw["manifest"])), scores=scores)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: a damaged baseline: {error}") from None


def _encode(scores: list[Score]) -> str | list[Any]:
    last = max(score.sample for score in scores)
    found = {score.sample: score.value for score in scores}
    if all(value in (0, 1, None) for value in found.values()):
        marks = {0.0: "0", 1.0: "1", None: "v"}
        return "".join(marks[found[i]] if i in found else "-" for i in range(last + 1))
    return [[i, found[i]] for i in sorted(found)]


def _decode(task: str, problem: str, cluster: str, encoded: str | list[Any]) -> Iterable[Score]:
    pairs: Iterable[tuple[int, float | None]]
    if isinstance(encoded, str):
        values = {"0": 0.0, "1": 1.0, "v": None}
        pairs = [(i, values[mark]) for i, mark in enumerate(encoded) if mark != "-"]
    else:
        pairs = [(int(i), None if value is None else float(value)) for i, value in encoded]
    for sample, value in pairs:
        void = "" if value is not None else "void in the baseline"
        yield Score(task=task, problem=problem, cluster=cluster, sample=sample, value=value, void=void)


def known_field(name: str, sides: Iterable[Side]) -> None:
    """Raises UsageError for an `--ignore` that means no field of either run."""
    paths = [path for side in sides for role in (COMPARABLE, WARNED) for path in side.manifest.leaves(role)]
    if not any(_names(path, name) for path in [*paths, "tasks"]):
        raise UsageError(unknown("field", name, sorted({part for path in paths for part in path.split(".")})))
