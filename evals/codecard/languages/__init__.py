"""The languages that programs are written in: one folder `sandbox/LANG/` each, found by listing.

`language.toml` says all that a pattern can say: how a program is built and run, how its tests prove that they ran to
their end, what its runtime prints for which failure, and how its text is read. What takes a procedure (making a program
of a chat answer) is in a module of this package that has the language's name, where there is one. Further folders are
taken from `CODECARD_LANGUAGES` (separated by `:`); the project's own language hides another of its name.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from codecard.model import StageLimits, UsageError
from codecard.paths import language_roots
from codecard.settings import read_toml
from codecard.text import unknown

__all__ = ["Language", "Proof", "Toolchain", "Verdicts", "Warm", "find_language", "language_names"]

Variants = dict[str, tuple[str, ...]]
"""Run commands that a profile may ask for in place of the plain one, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """The fast way to the same verdict. What it does not bring to a clean end is judged by the plain commands.

    `build_when` is text that the source must begin with, and `build_unless` a regular expression that must not be found
    in it, for the warm build to mean the same as the plain one. `doubted` names the limits ("cpu", "wall") that a warm
    run may reach where the plain one does not.
    """

    build: tuple[str, ...] = ()
    build_server: tuple[str, ...] = ()
    build_kind: str = ""
    build_when: str = ""
    build_unless: str = ""
    build_failure_counts: bool = False
    """What the warm compiler rejects is rejected: it is the plain one, with exit code 1 and its diagnostics."""
    run: tuple[str, ...] = ()
    run_server: tuple[str, ...] = ()
    variants: Variants
    doubted: tuple[str, ...] = ()

    def run_command(self, options: tuple[str, ...], limits: StageLimits) -> tuple[str, ...]:
        """Empty where a server runs the program. `{memory_bytes}` stands for the limit."""
        command = _variant(self.run, self.variants, options)
        return tuple(word.replace("{memory_bytes}", str(limits.memory_bytes)) for word in command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Commands run in a work folder that holds the file `source`; `build` is empty where there is none."""

    source: str
    run: tuple[str, ...]
    version: tuple[str, ...]
    package: str
    build: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    etc: tuple[str, ...] = ()
    """What of the host's /etc the toolchain reads, where it is the host's."""
    variants: Variants
    warm: Warm

    def run_command(self, options: tuple[str, ...]) -> tuple[str, ...]:
        return _variant(self.run, self.variants, options)


def _variant(plain: tuple[str, ...], variants: Variants, options: tuple[str, ...]) -> tuple[str, ...]:
    return next((variants[name] for name in options if name in variants), plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The statement that makes the file `{path}`, and where it stands: at the `end` of the source, or before its last
    (`main`) or last but one (`main in class`) closing brace. It works whatever the program imports or shadows."""

    statement: str
    place: str = "end"

    def offset(self, source: str) -> int:
        """Where in `source`, which ends with its tests, the last assertion has been passed."""
        end = len(source)
        for _ in range({"end": 0, "main": 1, "main in class": 2}[self.place]):
            end = source.rindex("}", 0, end)
        return end


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What the runtime prints for which failure. `reported_on`: `stderr`, or `both` where errors may go to stdout.

    `assertion`: a failed assertion of the tests (and the signal that it ends with, if any). `no_memory`: no more memory
    was had before the sandbox's own limit. `unparsed`: an interpreted program that did not even parse; all of the
    patterns must be found.
    """

    assertion: re.Pattern[bytes]
    assertion_signal: int | None = None
    no_memory: re.Pattern[bytes]
    unparsed: tuple[re.Pattern[bytes], ...] = ()
    reported_on: str = "stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language. `tags`: what fences and files call it; the first is how a prompt's own fence calls it.

    `signature` finds a function's definition and its name; `defines`, with `{0}` for a name, the definition of that
    one; `whole_file` how a text begins that cannot be the body of a function. `lexemes` are comments and literals, as
    one pattern.
    """

    name: str
    title: str
    folder: Path
    tags: tuple[str, ...]
    toolchain: Toolchain
    proof: Proof
    verdicts: Verdicts
    signature: re.Pattern[str]
    defines: str
    whole_file: re.Pattern[str]
    lexemes: re.Pattern[str]

    @property
    def rules(self) -> ModuleType | None:
        """The module with the language's procedures."""
        found = importlib.util.find_spec(f"{__name__}.{self.name}")
        return import_module(found.name) if found is not None else None


def language_names() -> tuple[str, ...]:
    """Names of all languages, in the order in which tables show them."""
    return tuple(_all())


def find_language(name: str) -> Language:
    """Raises UsageError, with the near miss, for one that is not there."""
    if name not in _all():
        raise UsageError(unknown("language", name, language_names()))
    return _all()[name]


@cache
def _all() -> dict[str, Language]:
    found: dict[str, tuple[int, Language]] = {}
    for root in language_roots():
        for file in sorted(root.glob("*/language.toml")):
            raw = read_toml(file)
            language, rank = _language(raw, file), raw.get("rank", 1000)
            if not isinstance(language.name, str) or not isinstance(rank, int):
                raise UsageError(f"{file}: not a language's definition: its name is a text, its rank a whole number")
            found.setdefault(language.name, (rank, language))
    return {name: entry for name, (_, entry) in sorted(found.items(), key=lambda item: (item[1][0], item[0]))}


def _language(raw: dict[str, Any], file: Path) -> Language:
    try:
        text, printed = raw["text"], dict(raw["verdicts"])
        for name in ("assertion", "no_memory"):
            printed[name] = re.compile(printed[name].encode())
        printed["unparsed"] = tuple(re.compile(pattern.encode()) for pattern in printed.get("unparsed", ()))
        return Language(
            name=raw["name"],
            title=raw["title"],
            folder=file.parent,
            tags=tuple(raw["tags"]),
            toolchain=Toolchain(**_commands(raw["toolchain"]), warm=Warm(**_commands(raw.get("warm", {})))),
            proof=Proof(**raw["proof"]),
            verdicts=Verdicts(**printed),
            signature=re.compile(text["signature"], re.MULTILINE),
            defines=text["defines"],
            whole_file=re.compile(text.get("whole_file", r"(?!)")),
            lexemes=re.compile("|".join(text["lexemes"]) or r"(?!)", re.DOTALL),
        )
    except (KeyError, TypeError, re.error) as error:
        raise UsageError(f"{file}: not a language's definition: {error}") from None


def _commands(fields: dict[str, Any]) -> dict[str, Any]:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    variants = {name: tuple(command) for name, command in fields.get("variants", {}).items()}
    return plain | {"variants": variants}
