"""The text of a number in a table: its digits, its decoration, and the rule it was rounded by.

A cell such as `**5.8**(ours)` or `54.2%` is a number in a dress. The dress is kept byte for byte when a new
number is put in; the number of decimals and the rounding rule say which values the text can stand for.
All arithmetic is decimal: 0.57 is 57.0 %, not 56.99999999999999 %.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from enum import StrEnum

_NUMBER = re.compile(
    r"^(?P<open>\*\*|__|\*|_)?\s*(?P<digits>[-+]?\d+(?:\.\d+)?)\s*(?P<percent>%)?"
    r"(?P<tail>\s*(?:\*\*|__|\*|_)?\s*(?:\([^()|]*\)|[†‡*▲✱^¹²³]|<sup>[^<|]*</sup>)*\s*)$"
)


LONGEST = 80
"""Characters of a cell that may be a number: the pattern must never see a page of blanks."""


class Rounding(StrEnum):
    """How a value became a text."""

    NEAREST = "nearest"
    TRUNCATE = "truncate"
    """Digits beyond the last are cut off."""
    EXACT = "exact"
    """Nothing was lost: up to two decimals, trailing zeros dropped down to one decimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberText:
    """A shown number: `shown` is the cell's whole text, `digits` the number inside it."""

    shown: str
    digits: str
    start: int
    bold: bool
    percent: bool

    @property
    def value(self) -> Decimal:
        return Decimal(self.digits)

    @property
    def decimals(self) -> int:
        return len(self.digits.partition(".")[2])

    def dressed(self, digits: str) -> str:
        """The same cell text around other digits."""
        return self.shown[: self.start] + digits + self.shown[self.start + len(self.digits) :]

    def with_bold(self, bold: bool) -> str:
        """The cell's text with or without the bold mark around the number (and its percent sign)."""
        if bold == self.bold:
            return self.shown
        core = self.digits + ("%" if self.percent else "")
        if bold:
            return self.shown.replace(core, f"**{core}**", 1)
        return self.shown.replace("**", "").replace("__", "")


def parse_number(shown: str) -> NumberText | None:
    """Read a cell's text as a number, or None where it is a label, a size (`7B`), a date or empty."""
    text = shown.strip()
    match = _NUMBER.match(text) if len(text) <= LONGEST else None
    if match is None:
        return None
    opening = match["open"] or ""
    if opening and opening not in match["tail"]:
        return None
    return NumberText(
        shown=text,
        digits=match["digits"],
        start=match.start("digits"),
        bold=opening in ("**", "__"),
        percent=bool(match["percent"]),
    )


def format_value(value: Decimal, decimals: int, rounding: Rounding) -> str:
    """The digits that `value` (in the unit shown) is written with.

    Ties go to the even digit, as Python's own formatting does.
    """
    if rounding is Rounding.EXACT:
        text = str(value.quantize(Decimal("0.01"), ROUND_HALF_EVEN))
        return text[:-1] if text.endswith("0") else text
    mode = ROUND_DOWN if rounding is Rounding.TRUNCATE else ROUND_HALF_EVEN
    return str(value.quantize(Decimal(1).scaleb(-decimals), mode))


def bounds(value: Decimal, decimals: int, rounding: Rounding) -> tuple[Decimal, Decimal]:
    """The values a text can stand for: [r-h, r+h], for cut digits [r, r+2h), for exact texts r alone."""
    step = Decimal(1).scaleb(-decimals)
    if rounding is Rounding.EXACT:
        return value, value
    if rounding is Rounding.TRUNCATE:
        return value, value + step
    return value - step / 2, value + step / 2


def counts_shown(percent: Decimal, decimals: int, questions: int) -> tuple[int | None, int | None]:
    """The count of `questions` that this percentage stands for: by rounding, and by cutting off; None where none."""
    step = Decimal(1).scaleb(-decimals)
    near = int(percent * questions / 100)
    rounded = cut = None
    for k in reversed(range(max(0, near - 1), min(questions, near + 2) + 1)):
        exact = Decimal(100 * k) / questions
        if percent in (exact.quantize(step, ROUND_HALF_EVEN), exact.quantize(step, ROUND_HALF_UP)):
            rounded = k
        if percent == exact.quantize(step, ROUND_DOWN):
            cut = k
    return rounded, cut
