"""Whose numbers these are and how they were made: the lines above a report's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping

from codecard.report.stages import stages_text
from codecard.store.outcomes import RunData
from codecard.store.run_folder import Row

ELSEWHERE = "completions made elsewhere"


def model_of(manifest: Row) -> str:
    recipe = manifest.get("recipe")
    found = recipe.get("model") if isinstance(recipe, dict) else None
    return str(found or manifest.get("model") or ELSEWHERE)


def facts_of(run: RunData) -> tuple[tuple[str, str], ...]:
    """What a reader must know before the numbers."""
    manifest = run.manifest
    recipe = manifest.get("recipe") if isinstance(manifest.get("recipe"), dict) else {}
    assert isinstance(recipe, dict)
    sampling = recipe.get("sampling")
    facts: list[tuple[str, object]] = [
        ("Model", model_of(manifest)),
        ("Revision", recipe.get("revision")),
        ("Profile", _name(manifest.get("profile"))),
        ("Samples a problem", manifest.get("samples")),
        ("Sampling", _sampling(sampling) if isinstance(sampling, dict) else None),
        ("Data type", recipe.get("dtype")),
        ("Backend", recipe.get("backend")),
        ("Sandbox", manifest.get("sandbox")),
        ("Judge", _judge(manifest.get("judge"))),
        ("Completions", f"{len(run.completions):,}"),
        ("Executions", f"{len(run.executions):,}"),
        ("Void", f"{sum(score.value is None for score in run.scores):,}"),
        ("Stages", stages_text(run.stages)),
        ("Started", manifest.get("started") or manifest.get("created")),
    ]
    return tuple((name, str(value)) for name, value in facts if value not in (None, "", {}))


def _name(value: object) -> object:
    return value.get("name") if isinstance(value, dict) else value


def _judge(judge: object) -> object:
    """The judge's name, or the sentence that says what its scores may not be compared with."""
    return judge.get("remark") or judge.get("name") if isinstance(judge, dict) else judge


def _sampling(sampling: Mapping[str, object]) -> str:
    if not sampling.get("temperature"):
        return "greedy"
    return f"temperature {sampling['temperature']}, top-p {sampling.get('top_p', 1)}"


def manifest_text(manifest: Row) -> str:
    return json.dumps(manifest, indent=1, ensure_ascii=False)
