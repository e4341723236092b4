"""What two runs must share before their difference means anything."""

from __future__ import annotations

import json
from dataclasses import dataclass

from codecard.model import UsageError
from codecard.store.outcomes import Outcomes

MUST_EQUAL = ("profile", "data", "limits")
"""Manifest fields that decide the questions or the rule of a verdict: a difference is refused."""
SHOULD_EQUAL = ("samples", "images", "toolchains")
"""Fields that may move a verdict, or whose difference the statistics bear: a difference is told."""


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
    found = [m for name in MUST_EQUAL + SHOULD_EQUAL for m in _differences(name, base, new)]
    if tasks[0] != tasks[1]:
        found.insert(0, Mismatch(field="tasks", base=_list(tasks[0]), new=_list(tasks[1])))
    for mismatch in found:
        field = mismatch.field.split(".")[0]
        if field in (*MUST_EQUAL, "tasks") and field not in ignore:
            raise UsageError(f"not comparable: the runs differ in {mismatch}; --ignore {field} compares them anyway")
    return found


def _differences(field: str, base: Outcomes, new: Outcomes) -> list[Mismatch]:
    """One mismatch for a plain field; one for each key that both have, and differently, of a mapping."""
    old, now = base.manifest.get(field), new.manifest.get(field)
    if isinstance(old, dict) and isinstance(now, dict):
        shared = [key for key in old if key in now and old[key] != now[key]]
        return [Mismatch(field=f"{field}.{k}", base=_short(old[k]), new=_short(now[k])) for k in shared]
    if old == now or old is None or now is None:
        return []
    return [Mismatch(field=field, base=_short(old), new=_short(now))]


def _list(tasks: set[str]) -> str:
    return ", ".join(sorted(tasks)) or "nothing"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 40 else text[:19] + "…" + text[-19:]
