"""What two runs must share before their difference means anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from codecard.model import UsageError
from codecard.store.outcomes import Outcomes

MUST_EQUAL = ("profile", "data", "limits", "judge", "sql.protocol", "sql.databases")
"""Parts of the manifest that decide the questions or the rule of a verdict: a difference is refused."""
SHOULD_EQUAL = ("samples", "images", "toolchains", "sandbox", "mt_bench")
"""Parts that may move a verdict, or whose difference the statistics bear: a difference is told."""
OF_THE_MOMENT = frozenset({"remark", "start_s", "pid", "cold", "server", "golds", "known_bad", "tied"})
"""Leaves that differ from run to run and decide nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One field in which two runs differ."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.base} against {self.new}"


def check_comparable(base: Outcomes, new: Outcomes, ignore: tuple[str, ...] = ()) -> list[Mismatch]:
    """The differences to warn of. Raises UsageError naming the field when one forbids the comparison.

    `ignore` names fields whose difference is only told. Runs without a common task are always refused.
    """
    tasks = [{score.task for score in outcomes.scores} for outcomes in (base, new)]
    if not tasks[0] & tasks[1]:
        raise UsageError(f"nothing to compare: {base.name} has {_list(tasks[0])}, {new.name} has {_list(tasks[1])}")
    found = [Mismatch(field="tasks", base=_list(tasks[0]), new=_list(tasks[1]))] if tasks[0] != tasks[1] else []
    old, now = leaves(base.manifest), leaves(new.manifest)
    found += [
        Mismatch(field=path, base=_short(old[path]), new=_short(now[path]))
        for path in old
        if path in now and old[path] != now[path] and _under(path, MUST_EQUAL + SHOULD_EQUAL)
    ]
    for mismatch in found:
        refused = mismatch.field == "tasks" or _under(mismatch.field, MUST_EQUAL)
        if refused and not _under(mismatch.field, ignore):
            field = mismatch.field.split(".")[0]
            raise UsageError(f"not comparable: the runs differ in {mismatch}; --ignore {field} compares them anyway")
    return found


def leaves(manifest: Mapping[str, object], path: str = "") -> dict[str, object]:
    """Dotted path → value of every leaf that decides something."""
    found: dict[str, object] = {}
    for name, value in manifest.items():
        if name in OF_THE_MOMENT:
            continue
        here = f"{path}.{name}" if path else name
        found.update(leaves(value, here) if isinstance(value, dict) else {here: value})
    return found


def _under(path: str, parts: Iterable[str]) -> bool:
    return any(path == part or path.startswith(f"{part}.") for part in parts)


def _list(tasks: set[str]) -> str:
    return ", ".join(sorted(tasks)) or "nothing"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 40 else text[:19] + "…" + text[-19:]
