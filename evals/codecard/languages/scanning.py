"""Looking at source text without being fooled by its comments and strings.

Just enough of each language's lexical grammar to match braces and to find definitions and statements; nothing
here parses a language. Offsets into a masked text are offsets into the original.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from codecard.languages import find_language

_OPEN, _CLOSE = "([{", ")]}"


def mask(text: str, name: str) -> str:
    """`text` of the language `name` with comments and string contents blanked; same length, same line breaks."""
    return find_language(name).lexemes.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def depths(masked: str) -> list[int]:
    """Brace depth before each character, and one more entry: the depth at the end (unclosed braces)."""
    depth, found = 0, [0]
    for char in masked:
        depth += (char == "{") - (char == "}")
        found.append(depth)
    return found


def block_end(masked: str, at: int) -> int:
    """Offset just past the brace that closes the one at `at`; the end of the text if none does."""
    depth = 0
    for place in range(at, len(masked)):
        depth += (masked[place] == "{") - (masked[place] == "}")
        if depth == 0:
            return place + 1
    return len(masked)


def line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def drop_function(text: str, name: str, head: str) -> str:
    """Without the functions at brace depth 0 whose declaration matches the pattern `head` up to the body.

    A body that is never closed (an answer that broke off) goes to the end of the text.
    """

    def end(masked: str, found: re.Match[str]) -> int | None:
        body = re.compile(r"[^;{}]*\{").match(masked, found.end())
        return block_end(masked, body.end() - 1) if body else None

    return _without(text, name, head, end)


def drop_statements(text: str, name: str, start: str, ends: str) -> str:
    """Without the top-level statements that begin a line and match the pattern `start`.

    A statement ends at the first of the characters `ends` outside brackets. One that does not end is kept.
    """

    def end(masked: str, found: re.Match[str]) -> int | None:
        depth = 0
        for place in range(found.start(), len(masked)):
            char = masked[place]
            depth += (char in _OPEN) - (char in _CLOSE)
            if depth < 0:
                return None
            if depth == 0 and char in ends:
                return place + 1
        return len(masked) if depth == 0 and "\n" in ends else None

    return _without(text, name, rf"^(?:{start})", end)


def _without(text: str, name: str, pattern: str, end_of: Callable[[str, re.Match[str]], int | None]) -> str:
    """Without what begins with `pattern` at brace depth 0 and ends where `end_of` says, if anywhere."""
    masked = mask(text, name)
    depth = depths(masked)
    kept, at = [], 0
    for found in re.finditer(pattern, masked, re.MULTILINE):
        end = end_of(masked, found) if found.start() >= at and depth[found.start()] == 0 else None
        if end is not None:
            kept.append(text[at : found.start()])
            at = end
    return "".join([*kept, text[at:]])
