"""Whose numbers these are and how they were made: the lines above a report's tables."""

from __future__ import annotations

from codecard.report.stages import stages_text
from codecard.report.terminal import asked_text
from codecard.runs.reading import Run

ELSEWHERE = "completions made elsewhere"


def facts_of(run: Run) -> tuple[tuple[str, str], ...]:
    """What a reader must know before the numbers."""
    manifest = run.manifest
    recipe = manifest.recipe or {}
    asked = {name: asked_text(asking, manifest.samples) for name, asking in manifest.asking.items()}
    alone = len(asked) == 1
    facts: list[tuple[str, object]] = [
        ("Model", run.model or ELSEWHERE),
        ("Revision", recipe.get("revision")),
        ("Profile", manifest.profile.get("name")),
        ("Samples a problem", manifest.samples),
        *(("Asked" if alone else f"Asked, {name}", text) for name, text in asked.items()),
        ("Data type", recipe.get("dtype")),
        ("Backend", recipe.get("backend")),
        ("Sandbox", manifest.sandbox),
        ("Completions", f"{sum(map(len, run.histories.values())):,}"),
        ("Executions", f"{len(run.outcomes):,}"),
        ("Void", f"{len(run.voids):,}"),
        ("Stages", stages_text(run.stages)),
    ]
    return tuple((name, str(value)) for name, value in facts if value not in (None, "", {}))
