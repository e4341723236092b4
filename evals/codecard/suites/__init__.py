"""The suites that are there: the project's own, folders of TOML files, and those of installed packages.

A folder of `tasks/` (or of `CODECARD_TASKS`, `--tasks`) is a suite: of programs with tests, unless its `suite.toml`
names a `kind` of `KINDS`. A suite of another kind comes with a package, by the entry point `codecard.suites`, which
names a `Suite` (a class or an instance). A folder of the user's own hides no suite of the project's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from codecard.model import Estimates, UsageError
from codecard.paths import task_roots
from codecard.settings import read_toml
from codecard.suites.suite import Suite
from codecard.text import unknown

__all__ = ["Suite", "find_suite", "in_order", "known_suite", "scales", "suite_names"]

ENTRY_POINTS = "codecard.suites"
KINDS = {
    "sql": "codecard.suites.sql.suite:SqlSuite",
    "mt_bench": "codecard.suites.mt_bench.suite:MtBench",
    "zero_shot": "codecard.suites.zero_shot.suite:ZeroShot",
}
ORDER = ("multipl_e", "humaneval", "mbpp_plus", "mt_bench", "sql", "zero_shot")
"""The order in which the project's own suites are shown: the card's. Others follow by name."""


def _folders() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in task_roots():
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if folder.name != "profiles" and any(folder.glob("*.toml")):
                found.setdefault(folder.name, folder)
    return found


def suite_names() -> list[str]:
    """Every suite's name."""
    return in_order([*_folders(), *(point.name for point in entry_points(group=ENTRY_POINTS))])


def card_suites() -> list[str]:
    """Those that a card's tables are made of."""
    return [name for name in suite_names() if name in ORDER]


def in_order(names: Iterable[str]) -> list[str]:
    """Suites' names, each once, in the order in which they are shown."""
    return sorted(set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def find_suite(name: str) -> Suite:
    """The suite of this name. UsageError with the near miss."""
    folders = _folders()
    if name in folders:
        return _from_folder(folders[name])
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return _instance(point.load())
    raise UsageError(unknown("suite", name, suite_names()))


@cache
def _from_folder(folder: Path) -> Suite:
    kind = str(read_toml(folder / "suite.toml").get("kind", "code")) if (folder / "suite.toml").is_file() else "code"
    if kind == "code":
        from codecard.suites.code.suite import CodeSuite

        return CodeSuite(folder)
    if kind not in KINDS:
        raise UsageError(f"{folder / 'suite.toml'}: {unknown('kind', kind, ['code', *KINDS])}")
    module, _, name = KINDS[kind].partition(":")
    return _instance(getattr(import_module(module), name))


@cache
def _instance(loaded: type[Suite] | Suite) -> Suite:
    return loaded() if isinstance(loaded, type) else loaded


class _Plain(Suite):
    """A suite that is not known here, read back as passes and fails: its folder is still shown."""

    def __init__(self, name: str) -> None:
        self.name = self.title = name

    def open(self, *_: object) -> None:  # type: ignore[override]
        find_suite(self.name)  # raises


def known_suite(name: str) -> Suite:
    """The suite of this name, or a plain one for what only the folder knows."""
    try:
        return find_suite(name)
    except UsageError:
        return _Plain(name)


def raw_reader() -> Callable[[Mapping[str, Any], str], tuple[str, Estimates]]:
    """What reads a raw output of lm-eval: (parsed JSON, where it is from) → its model's name and its estimates."""
    from codecard.suites.zero_shot.tasks import raw_estimates

    return raw_estimates


def scales(suites: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Of these suites, those whose values are ratings, with the lowest and the highest."""
    found = {name: known_suite(name).scale for name in suites}
    return {name: scale for name, scale in found.items() if scale is not None}
