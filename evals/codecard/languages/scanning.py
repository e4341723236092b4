"""Looking at source text without being fooled by its comments and strings.

Just enough of each language's lexical grammar to match braces and to find definitions and statements; nothing
here parses a language. Offsets into a masked text are offsets into the original.
"""

from __future__ import annotations

import re

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
    masked = mask(text, name)
    depth = depths(masked)
    spans = []
    for match in re.finditer(head, masked):
        body = re.compile(r"[^;{}]*\{").match(masked, match.end())
        if depth[match.start()] == 0 and body:
            spans.append((match.start(), block_end(masked, body.end() - 1)))
    return _without(text, spans)


def drop_statements(text: str, name: str, start: str, ends: str) -> str:
    """Without the top-level statements that begin a line and match the pattern `start`.

    A statement ends at the first of the characters `ends` outside brackets. One that does not end is kept.
    """
    masked = mask(text, name)
    depth = depths(masked)
    spans: list[tuple[int, int]] = []
    for match in re.finditer(rf"^(?:{start})", masked, re.MULTILINE):
        end = _statement_end(masked, match.start(), ends)
        if depth[match.start()] == 0 and end is not None:
            spans.append((match.start(), end))
    return _without(text, spans)


def _statement_end(masked: str, at: int, ends: str) -> int | None:
    depth = 0
    for place in range(at, len(masked)):
        char = masked[place]
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth < 0:
            return None
        if depth == 0 and char in ends:
            return place + 1
    return len(masked) if depth == 0 and "\n" in ends else None


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in spans:
        if start >= at:
            kept.append(text[at:start])
            at = end
    return "".join([*kept, text[at:]])
