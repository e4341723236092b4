"""The published numbers of the model that a run measured."""

from __future__ import annotations

from codecard.card.measurements import same_model
from codecard.card.reported import load_reported, number
from codecard.paths import reported_dir
from codecard.runs.reading import Run


def reported_numbers(run: Run) -> dict[str, str]:
    """Task (or `<suite>/average`) → the number as published, for the run's model; empty for other models.

    Where several tables publish a task, the first by file name that has the model's own row counts; the
    front matter's copy of a base model's numbers never does.
    """
    folder = reported_dir()
    if not folder.is_dir():
        return {}
    found: dict[str, str] = {}
    for table in load_reported(folder):
        if table.front_matter:
            continue
        for row, column, shown in table.cells():
            if same_model(run.model, row.model):
                text = number(shown).digits
                found.setdefault(column.task, f"{text}%" if table.unit == "percent" else text)
    return found
