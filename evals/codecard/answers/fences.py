"""Where the code of a chat answer is: fenced blocks, and what stands between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^`]*)$")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an answer; `fenced` says whether it stood in a code fence."""

    text: str
    fenced: bool


def split(answer: str) -> list[Part]:
    """The parts of an answer in order, fence lines removed.

    The language tag is ignored, a block in an indented fence loses that indentation, and a block that is
    never closed runs to the end. An opening line inside a block (a tag after the fence) closes it and opens
    the next.
    """
    parts: list[Part] = []
    lines: list[str] = []
    fence, indent = "", 0

    def close() -> None:
        parts.append(Part("\n".join(lines), bool(fence)))
        lines.clear()

    for line in answer.replace("\r\n", "\n").split("\n"):
        match = _FENCE.match(line)
        if not match or (fence and not match[2].startswith(fence)):
            lines.append(re.sub(rf"^[ \t]{{0,{indent}}}", "", line) if fence and indent else line)
            continue
        close()
        opens = not fence or bool(match[3].strip())
        fence, indent = (match[2], len(match[1])) if opens else ("", 0)
    close()
    return [part for part in parts if part.text.strip()]
