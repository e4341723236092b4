"""How each language is built and run, read from `sandbox/<language>/toolchain.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from codecard.model import StageLimits, UsageError
from codecard.tasks.code import JAVATUPLES
from codecard.tasks.paths import sandbox_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """The fast way to the same verdict. What it does not bring to a clean end is judged by the plain commands.

    `build_when` is text that the source must begin with, and `build_unless` a regular expression that must not be found
    in it, for the warm build to mean the same as the plain one.
    """

    build: tuple[str, ...] = ()
    build_server: tuple[str, ...] = ()
    build_kind: str = ""
    build_when: str = ""
    build_unless: str = ""
    build_failure_counts: bool = False
    """What the warm compiler rejects is rejected: it is the plain one, with exit code 1 and its diagnostics."""
    run: tuple[str, ...] = ()
    run_with_javatuples: tuple[str, ...] = ()
    run_server: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    """Limits ("cpu", "wall") that a warm run may reach where the plain one does not: the plain command is asked."""

    def run_command(self, options: tuple[str, ...], limits: StageLimits) -> tuple[str, ...]:
        """Empty where a server runs the program. `{memory_bytes}` stands for the limit."""
        command = self.run_with_javatuples if JAVATUPLES in options and self.run_with_javatuples else self.run
        return tuple(word.replace("{memory_bytes}", str(limits.memory_bytes)) for word in command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Commands run in a work folder that holds the file `source`; `build` is empty where there is none."""

    language: str
    source: str
    run: tuple[str, ...]
    version: tuple[str, ...]
    package: str
    build: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    run_with_javatuples: tuple[str, ...] = ()
    warm: Warm = Warm()

    def run_command(self, options: tuple[str, ...]) -> tuple[str, ...]:
        return self.run_with_javatuples if JAVATUPLES in options and self.run_with_javatuples else self.run


@cache
def toolchain(language: str) -> Toolchain:
    path = sandbox_dir() / language / "toolchain.toml"
    if not path.is_file():
        raise UsageError(f"no toolchain for language {language!r} in {sandbox_dir()}")
    fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    warm = Warm(**_tuples(fields.pop("warm", {})))
    return Toolchain(**_tuples(fields), warm=warm)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
