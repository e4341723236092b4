"""codecard: reproduce a code model's card.

The public names. Everything else may move between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecard.model import (
    Card,
    Cell,
    CodecardError,
    Comparison,
    Completion,
    Estimate,
    Execution,
    InfrastructureError,
    Limits,
    Problem,
    Program,
    Recipe,
    Sampling,
    Score,
    UsageError,
    Verdict,
)

if TYPE_CHECKING:
    from codecard.store.frames import load_run

__all__ = [
    "Card",
    "Cell",
    "CodecardError",
    "Comparison",
    "Completion",
    "Estimate",
    "Execution",
    "InfrastructureError",
    "Limits",
    "Problem",
    "Program",
    "Recipe",
    "Sampling",
    "Score",
    "UsageError",
    "Verdict",
    "load_run",
]


def __getattr__(name: str) -> Any:
    """`load_run` needs pandas, an extra: it is imported when first asked for."""
    if name == "load_run":
        from codecard.store.frames import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
