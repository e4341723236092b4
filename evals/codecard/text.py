"""Text made fit to be shown: no control characters, no markup, no endless lines; and near misses of names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """One line for a name that does not exist, with the near miss."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {hint}known: {', '.join(known)}"


def first_line(error: BaseException, most: int = 200) -> str:
    """What another's error says, in one line of at most so many characters."""
    return in_line(error, most) or type(error).__name__


def in_line(told: object, most: int = 200) -> str:
    """One line of at most so many characters: every run of blanks and line ends is one blank."""
    return " ".join(str(told).split())[:most]


# Controls, lone surrogates, and marks that are invisible or turn the direction of what follows.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Control characters by their pictures, other unshowable ones by code point; newlines and tabs stay."""
    return _UNSHOWABLE.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clip(text: str, head: int, tail: int) -> str:
    """The first and the last characters of a text, with the number left out between them."""
    left_out = len(text) - head - tail
    if left_out <= 0:
        return text
    return f"{text[:head]}\n[… {left_out:,} characters left out …]\n{text[-tail:]}"


def markdown(text: str) -> str:
    """One table cell of plain text: no markup, no HTML, no column or line of its own."""
    flat = " ".join(printable(text).split())
    escaped = re.sub(r"([\\`*_{}\[\]|#~@$])", r"\\\1", flat.replace("&", "&amp;"))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")
