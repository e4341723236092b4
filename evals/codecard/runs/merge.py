"""The union of run folders: shards of one run, or a run and what was added to it elsewhere.

Rows are united by their keys, so merging is idempotent and free of order: merging in any order, in any grouping, or
again, gives the same files byte for byte. Only runs that asked the same questions in the same way may be united.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from codecard.files import Row, write_json, write_lines
from codecard.journal import read_journal
from codecard.model import SampleId, UsageError
from codecard.runs.folder import (
    COMPLETIONS,
    EXECUTIONS,
    MANIFEST,
    PROBLEMS,
    SCORES,
    ProblemId,
    brief,
    lock_folder,
    read_manifest,
    read_problems,
    row_id,
    united_problems,
)
from codecard.runs.manifest import COMPARABLE, FORMAT, IDENTITY, MAKING, WARNED, Manifest, united_plans
from codecard.runs.pipeline import finish
from codecard.runs.reading import Run, natural, ordered_tasks
from codecard.suites import known_suite

OUTCOME = ("verdict", "passed", "value", "program")
"""What two executions of a sample must share. Times, memory and output differ from one machine to the next."""
Turn = tuple[str, str, int, int]
Key = TypeVar("Key", ProblemId, SampleId, Turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge made. `twice` counts the completions that several runs had, `notes` is what to tell the user."""

    completions: int
    executions: int
    twice: int
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Part:
    path: Path
    manifest: Manifest
    problems: dict[ProblemId, Row]
    completions: dict[Turn, Row]
    executions: dict[SampleId, Row]


def merge(out: Path, runs: Sequence[Path]) -> tuple[Merged, Run]:
    """Unite `runs` in `out` (with what it holds already) and score it. A sample that no run has is void; a
    `codecard run` on `out` makes it.

    Raises UsageError, with nothing written, where a folder is no run, where two differ in what was asked, or where
    two have different rows for one sample.
    """
    paths = list(dict.fromkeys([*([out] if (out / MANIFEST).exists() else []), *runs]))
    parts = [_read(path) for path in paths]
    for part in parts[1:]:
        _check_same(parts[0], part)
    manifest = _manifest(parts)
    problems = _problems(parts)
    completions = _unite(parts, "completions", lambda a, b: _stripped(a) == _stripped(b))
    executions = _unite(parts, "executions", _same_outcome)
    if not completions:
        raise UsageError(f"nothing to merge: no completions in {', '.join(map(str, paths))}")
    tasks = ordered_tasks(key[0] for key in [*problems, *completions])

    def place(key: Any) -> tuple[Any, ...]:
        return tasks[key[0]], natural(key[1]), *key[2:]

    with lock_folder(out):
        # the manifest last: a merge that was cut off leaves no folder that looks whole
        write_lines(out / PROBLEMS, (problems[key] for key in sorted(problems, key=place)))
        write_lines(out / COMPLETIONS, (completions[key] for key in sorted(completions, key=place)))
        write_lines(out / EXECUTIONS, (executions[key] for key in sorted(executions, key=place)))
        (out / SCORES).unlink(missing_ok=True)
        write_json(out / MANIFEST, manifest)
    merged = Merged(
        completions=len(completions),
        executions=len(executions),
        twice=sum(len(part.completions) for part in parts) - len(completions),
        notes=tuple(_notes(parts)),
    )
    return merged, finish(out)


def _read(path: Path) -> _Part:
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    manifest = read_manifest(path)
    foreign = [suite for suite in manifest.suites if not known_suite(suite).shards]
    if foreign:
        raise UsageError(f"{path}: suite {foreign[0]} is not sharded, hence not merged")
    if not manifest.recipe:
        raise UsageError(f"{path}: its completions were made elsewhere; give all their files to one codecard score")
    needed = ("task", "problem", "sample")
    return _Part(
        path=path,
        manifest=manifest,
        problems=read_problems(path),
        completions={(*row_id(row), row.get("turn", 1)): row for row in read_journal(path / COMPLETIONS, needed)},
        executions={row_id(row): row for row in read_journal(path / EXECUTIONS, needed)},
    )


def _check_same(first: _Part, other: _Part) -> None:
    found = first.manifest.conflict(other.manifest, IDENTITY, COMPARABLE)
    if found is not None:
        name, one, two = found
        raise UsageError(
            f"{other.path} and {first.path} differ in {name} ({brief(two)}; {brief(one)}); "
            "only parts of one run can be merged"
        )


# ---------------------------------------------------------------- rows


def _problems(parts: Sequence[_Part]) -> dict[ProblemId, Row]:
    """The plan of the whole: what a shard left to others is planned here."""
    _unite(parts, "problems", lambda a, b: _asked(a) == _asked(b))
    found = united_problems(*(part.problems.values() for part in parts))
    for row in found.values():
        row["samples"] = row.pop("whole", row["samples"])
    return found


def _asked(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("samples", "whole")}


def _unite(parts: Iterable[_Part], what: str, same: Callable[[Row, Row], bool]) -> dict[Any, Row]:
    """Key → row. Of rows that agree, the first in canonical order is kept, whichever run had it."""
    found: dict[Any, tuple[Row, Path]] = {}
    for part in parts:
        for key, row in getattr(part, what).items():
            if key not in found:
                found[key] = row, part.path
                continue
            before, where = found[key]
            if not same(before, row):
                name = " ".join(map(str, key[:3]))
                raise UsageError(f"{part.path} and {where} have different {what} of {name}; merge one of them only")
            found[key] = min((before, where), (row, part.path), key=lambda pair: _rank(pair[0]))
    return {key: row for key, (row, _) in found.items()}


def _rank(row: Row) -> tuple[bool, str]:
    """Voids last: what one run could not find out, another may have."""
    return bool(row.get("void")), _canonical(row)


def _stripped(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "seconds"}


def _same_outcome(one: Row, two: Row) -> bool:
    if one.get("void") or two.get("void"):
        return True
    return all(one.get(name) == two.get(name) for name in OUTCOME)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


# ---------------------------------------------------------------- the manifest


def _manifest(parts: Sequence[_Part]) -> Row:
    """Field by field: united, the largest, or the first in canonical order. Each is free of order and idempotent."""
    rows = [part.manifest.row() for part in parts]
    makings = [f.name for f in dataclasses.fields(Manifest) if MAKING in f.metadata["roles"] and f.name != "merged"]
    result: Row = {}
    for item in dataclasses.fields(Manifest):
        values = [row[item.name] for row in rows if row[item.name] not in (None, "", {}, [])]
        if item.metadata["united"]:
            result[item.name] = _united(values)
        elif values and item.name not in makings:
            result[item.name] = min(values, key=_canonical)
    result |= min(({name: row[name] for name in makings} for row in rows), key=_canonical)
    samples = [row["samples"] or 1 for row in rows]
    limits = [row["limit"] for row in rows]
    origins = {_canonical(origin): origin for part in parts for origin in _origins(part, makings)}
    result |= {
        "format": FORMAT,
        "plan": united_plans(*(row["plan"] for row in rows)),
        "suites": sorted({name for row in rows for name in row["suites"]}),
        "samples": max(samples),
        "limit": None if None in limits else max(limits),
        "shard": None,
        "skipped": {},
        "merged": [origins[key] for key in sorted(origins)],
    }
    return dict(sorted(result.items()))


def _united(values: Sequence[Mapping[str, Any]]) -> Row:
    """By key; where several have one, its parts are united likewise, or the first in canonical order stands."""
    keys = sorted({key for value in values for key in value})
    found: Row = {}
    for key in keys:
        given = [value[key] for value in values if key in value]
        nested = all(isinstance(one, dict) for one in given)
        found[key] = _united(given) if nested else min(given, key=_canonical)
    return found


def _origins(part: _Part, makings: Sequence[str]) -> list[Row]:
    row = part.manifest.row()
    if row["merged"]:
        return list(row["merged"])
    shard = {"shard": row["shard"]} if row["shard"] else {}
    return [{"run": part.path.resolve().name} | shard | {name: row[name] for name in makings if row[name]}]


def _notes(parts: Sequence[_Part]) -> Iterable[str]:
    seen: dict[str, object] = {}
    for part in parts:
        leaves = part.manifest.leaves(WARNED)
        for name, value in leaves.items():
            if name in seen and seen[name] != value and name != "samples":
                yield f"the runs differ in {name}: {brief(seen[name])}; {brief(value)}"
                return
            seen.setdefault(name, value)
