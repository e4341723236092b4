"""The union of run folders: shards of one run, or a run and what was added to it elsewhere.

Rows are united by their keys, so merging is idempotent and free of order: merging in any order, in any grouping, or
again, gives the same files byte for byte. Only runs that asked the same questions in the same way may be united.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import LANGUAGES, UsageError
from codecard.store.comparable import leaves
from codecard.store.journal import read_journal
from codecard.store.run_folder import (
    COMPLETIONS,
    EXECUTIONS,
    MANIFEST,
    PROBLEMS,
    SCORES,
    Row,
    RowId,
    lock_folder,
    read_manifest,
    row_id,
    write_json,
    write_lines,
)

MUST_EQUAL = ("suites", "profile", "recipe", "data", "limits", "sandbox", "sql.protocol")
"""Parts of the manifest that decide what was asked and what counts as an answer. `data` and `limits` have a field a
task: of runs in different languages they are united."""
BY_NAME = ("data", "limits", "images", "toolchains")
OF_THE_MAKING = ("codecard", "model", "argv", "git", "packages", "host", "fingerprint")
"""Who made a run: kept for each of them in `merged`; at the top stand those of the first in canonical order."""
MERGEABLE = frozenset({"multipl_e", "starter", "sql"})
OUTCOME = ("verdict", "passed", "program")
"""What two executions of a sample must share. Times, memory and output differ from one machine to the next."""


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
    manifest: Row
    problems: dict[tuple[str, str], Row]
    completions: dict[RowId, Row]
    executions: dict[RowId, Row]


def merge_runs(out: Path, runs: Sequence[Path]) -> Merged:
    """Write the union of `runs` (and of `out`, where that is a run already) to `out`; scores are not written.

    Raises UsageError, with nothing written, where a folder is no run, where two differ in what was asked, or where
    two have different rows for one sample.
    """
    paths = list(dict.fromkeys([*([out] if (out / MANIFEST).exists() else []), *runs]))
    parts = [_read(path) for path in paths]
    for part in parts[1:]:
        _check_same(parts[0], part)
    manifest = _manifest(parts)
    order = _Order(manifest)
    problems = _unite(parts, "problems", lambda a, b: _stripped(a) == _stripped(b))
    completions = _unite(parts, "completions", lambda a, b: _stripped(a) == _stripped(b))
    executions = _unite(parts, "executions", _same_outcome)
    if not completions:
        raise UsageError(f"nothing to merge: no completions in {', '.join(map(str, paths))}")
    with lock_folder(out):
        # the manifest last: a merge that was cut off leaves no folder that looks whole
        write_lines(out / PROBLEMS, (problems[key] for key in sorted(problems, key=order.problem)))
        write_lines(out / COMPLETIONS, (completions[key] for key in sorted(completions, key=order.sample)))
        write_lines(out / EXECUTIONS, (executions[key] for key in sorted(executions, key=order.sample)))
        (out / SCORES).unlink(missing_ok=True)
        write_json(out / MANIFEST, manifest)
    return Merged(
        completions=len(completions),
        executions=len(executions),
        twice=sum(len(part.completions) for part in parts) - len(completions),
        notes=tuple(_notes(parts)),
    )


def _read(path: Path) -> _Part:
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    manifest = read_manifest(path)
    foreign = [suite for suite in manifest.get("suites", []) if suite not in MERGEABLE]
    if foreign:
        raise UsageError(f"{path}: suite {foreign[0]} is not sharded, hence not merged")
    if not manifest.get("recipe"):
        raise UsageError(f"{path}: its completions were made elsewhere; give all their files to one codecard score")
    try:
        return _Part(
            path=path,
            manifest=manifest,
            problems={(row["task"], row["problem"]): row for row in read_journal(path / PROBLEMS)},
            completions={row_id(row): row for row in read_journal(path / COMPLETIONS)},
            executions={row_id(row): row for row in read_journal(path / EXECUTIONS)},
        )
    except KeyError as error:
        raise UsageError(f"{path}: a row without field {error}") from None


def _check_same(first: _Part, other: _Part) -> None:
    for field in MUST_EQUAL:
        one, two = (_leaves_of(part.manifest, field) for part in (first, other))
        shared = one.keys() & two.keys() if field in BY_NAME else one.keys() | two.keys()
        for name in sorted(shared):
            if one.get(name) != two.get(name):
                raise UsageError(
                    f"{other.path} and {first.path} differ in {name} ({_brief(two.get(name))}; "
                    f"{_brief(one.get(name))}); only parts of one run can be merged"
                )


def _leaves_of(manifest: Row, field: str) -> dict[str, object]:
    value: object = manifest
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return leaves(value, field) if isinstance(value, Mapping) else {field: value}


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


# ---------------------------------------------------------------- rows


def _unite(parts: Iterable[_Part], what: str, same: Any) -> dict[Any, Row]:
    """Key → row. Of rows that agree, the first in canonical order is kept, whichever run had it."""
    found: dict[Any, tuple[Row, Path]] = {}
    for part in parts:
        for key, row in getattr(part, what).items():
            if key not in found:
                found[key] = row, part.path
                continue
            before, where = found[key]
            if not same(before, row):
                name = " ".join(map(str, key))
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


class _Order:
    """The order of a whole run: suites as asked, languages as in the card, problems by their numbers."""

    def __init__(self, manifest: Row) -> None:
        self._suites = list(manifest.get("suites", []))

    def problem(self, key: tuple[str, str]) -> tuple[Any, ...]:
        task, problem = key[:2]
        suite, _, name = task.partition("/")
        pieces = re.split(r"(\d+)", problem)
        numbered = tuple((int(p), "") if i % 2 else (-1, p) for i, p in enumerate(pieces))
        suites = self._suites.index(suite) if suite in self._suites else len(self._suites)
        return suites, LANGUAGES.index(name) if name in LANGUAGES else len(LANGUAGES), task, numbered

    def sample(self, key: RowId) -> tuple[Any, ...]:
        return *self.problem(key[:2]), key[2]


# ---------------------------------------------------------------- the manifest


def _manifest(parts: Sequence[_Part]) -> Row:
    """Field by field: united, the largest, or the first in canonical order. Each is free of order and idempotent."""
    manifests = [part.manifest for part in parts]
    names = dict.fromkeys(name for manifest in manifests for name in manifest)
    made = [{name: manifest.get(name) for name in OF_THE_MAKING} for manifest in manifests]
    result: Row = {}
    for name in names:
        values = [manifest[name] for manifest in manifests if name in manifest]
        if name in BY_NAME:
            keys = sorted({key for value in values for key in value})
            result[name] = {key: min((v[key] for v in values if key in v), key=_canonical) for key in keys}
        elif name not in (*OF_THE_MAKING, "samples", "limit", "shard", "merged"):
            result[name] = min(values, key=_canonical)
    result |= min(made, key=_canonical)
    result["samples"] = max(int(manifest.get("samples") or 1) for manifest in manifests)
    limits = [manifest.get("limit") for manifest in manifests]
    result["limit"] = None if None in limits else max(int(limit) for limit in limits if limit is not None)
    origins = {_canonical(origin): origin for part in parts for origin in _origins(part)}
    result["merged"] = [origins[key] for key in sorted(origins)]
    return dict(sorted(result.items()))


def _origins(part: _Part) -> list[Row]:
    if "merged" in part.manifest:
        return list(part.manifest["merged"])
    shard = {"shard": part.manifest["shard"]} if "shard" in part.manifest else {}
    made = {name: part.manifest[name] for name in OF_THE_MAKING if name in part.manifest}
    return [{"run": os.path.basename(part.path.resolve())} | shard | made]


def _notes(parts: Sequence[_Part]) -> Iterable[str]:
    for field in ("images", "toolchains", "fingerprint"):
        seen: dict[str, object] = {}
        for part in parts:
            for name, value in _leaves_of(part.manifest, field).items():
                if name in seen and seen[name] != value:
                    yield f"the runs differ in {name}: {_brief(seen[name])}; {_brief(value)}"
                    return
                seen[name] = value
