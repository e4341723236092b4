"""Sizes of a matrix of tests: what of it is in `make test`, and what waits for `make test-long`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def some(cases: Sequence[Any], every: int, *, first: int = 0) -> list[Any]:
    """Parameters: each `every`-th case (a value, or a `pytest.param`) from `first` on is a test of every day, the
    others are long."""
    found = []
    for place, case in enumerate(cases):
        values, marks = (case.values, case.marks) if hasattr(case, "marks") else ((case,), ())
        found.append(pytest.param(*values, marks=marks if place % every == first else (*marks, pytest.mark.long)))
    return found
