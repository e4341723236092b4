"""codecard: reproduce a code model's card.

    import codecard

    run = codecard.run(model="embedded", suite="starter", limit=2)
    run.estimates["starter/py"]["pass@1"].value
    codecard.compare("results/runs/base", run).decision

These names are public; everything else may move between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecard.model import (
    CodecardError,
    Comparison,
    Completion,
    Decision,
    Estimate,
    Estimates,
    Execution,
    InfrastructureError,
    Limits,
    Outcome,
    Problem,
    Program,
    Sampling,
    Score,
    Table,
    UsageError,
    Verdict,
    Void,
)

if TYPE_CHECKING:
    from codecard.api import RunComparison, compare, load_run, run, score
    from codecard.runs.reading import Run

__all__ = [
    "CodecardError",
    "Comparison",
    "Completion",
    "Decision",
    "Estimate",
    "Estimates",
    "Execution",
    "InfrastructureError",
    "Limits",
    "Outcome",
    "Problem",
    "Program",
    "Run",
    "RunComparison",
    "Sampling",
    "Score",
    "Table",
    "UsageError",
    "Verdict",
    "Void",
    "__version__",
    "compare",
    "load_run",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    """What needs more than the vocabulary is imported when it is first asked for."""
    from importlib import import_module, metadata

    if name == "__version__":
        try:
            return metadata.version("codecard")
        except metadata.PackageNotFoundError:
            return "from a checkout"
    if name in __all__:
        return getattr(import_module("codecard.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
