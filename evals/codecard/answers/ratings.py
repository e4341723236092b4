"""A judge's rating out of its text. Pure."""

from __future__ import annotations

import re

_NUMBER = r"\[\[\s*([0-9]+(?:\.[0-9]*)?)\s*(?:/\s*10(?:\.0)?\s*)?\]\](?!\])"
_RATING = re.compile(rf"(?<![\w\])[])(?<!\w\(){_NUMBER}")
"""`[[7]]`, `[[7.5]]`, `[[ 8 ]]`, `[[8/10]]`; but not `rows[[0]]` or `array([[0]])`, which are code."""
_ANNOUNCED = re.compile(rf"(?i)\bratings?\b[\s:*_`]*(?:is|of)?[\s:*_`]*{_NUMBER}")
_FENCED = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)

_REFERENCE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_REFERENCE_BACKUP = re.compile(r"\[(\d+\.?\d*)\]")


def parse_rating(text: str, lowest: float = 1.0, highest: float = 10.0) -> float | None:
    """The first `[[x]]` with lowest <= x <= highest, or None.

    Rule of FastChat 0e6d3e4b, llm_judge/common.py (`one_score_pattern`), with these differences: blanks and
    `/10` are tolerated; a number off the scale is no rating; what stands in fenced code is none unless the
    word "rating" announces it, for judges quote and correct code; and there is no second rule that takes a
    bare bracket, by which `arr[0]` is a rating of 0.
    """
    prose = _FENCED.sub("\n", text)
    for candidate in (_RATING.finditer(prose), _ANNOUNCED.finditer(text)):
        for match in candidate:
            if lowest <= (rating := float(match[1])) <= highest:
                return rating
    return None


def parse_rating_as_reference(text: str) -> float | None:
    """FastChat's own rule, faults included: `[[x]]`, else a bare `[x]`, on any scale. None for its -1."""
    match = _REFERENCE.search(text) or _REFERENCE_BACKUP.search(text)
    return float(match[1]) if match else None
