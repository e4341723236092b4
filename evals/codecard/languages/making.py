"""What the making of a program out of a chat answer takes in several languages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codecard.languages.scanning import depths, mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A program's parts. `name`: the function that was asked for; `head`: what the prompt has before it; `code`: the
    answer's own; `tests`: what the program ends with. `defines` tells whether a text defines the function."""

    name: str
    head: str
    code: str
    tests: str
    defines: Callable[[str], bool]


def join(*parts: str) -> str:
    """Parts that are not blank, a line break between them; the last one (the tests) as it stands."""
    *before, tests = parts
    return "\n".join([*(part.strip("\n") for part in before if part.strip()), tests])


def opener(code: str, language: str, opening: str, tests: str) -> str:
    """Something for the tests' leading brace to close, unless the code left its last function open."""
    needed = tests.lstrip().startswith("}") and depths(mask(code, language))[-1] < 1
    return opening if needed else ""
