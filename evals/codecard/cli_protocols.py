"""Run a card's own protocols: what `codecard reproduce --model` starts before it judges."""

from __future__ import annotations

from pathlib import Path

from codecard.card.assumptions import Value, refuse_what_cannot_run
from codecard.card.reported import ReportedTable
from codecard.model import UsageError


def run_protocols(
    tables: list[ReportedTable], model: str, run: Path | None, limit: int | None, values: dict[str, Value]
) -> Path:
    """Run or resume every suite that the card's tables need, in one folder, and return it."""
    for table in tables:
        refuse_what_cannot_run(table.suite, values)
    raise UsageError("--model: not built yet")
