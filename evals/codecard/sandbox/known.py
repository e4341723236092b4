"""Programs whose outcome is known: they tell a broken sandbox from a broken program."""

from __future__ import annotations

from functools import cache

from codecard.languages import find_language
from codecard.model import Limits, Program, StageLimits
from codecard.settings import read_toml

GENEROUS = Limits(run=StageLimits(cpu_s=30, wall_s=120), build=StageLimits(cpu_s=120, wall_s=300))


@cache
def known_programs(name: str) -> dict[str, Program]:
    """Programs in the language's `doctor.toml` by kind: `good`, `wrong` and so on, with the place of their proof, and
    those that try a wall (`memory`, `network`, …). Raises UsageError where the language has none."""
    found = find_language(name)
    raw = read_toml(found.folder / "doctor.toml")
    places = {kind: found.proof.offset(source) for kind, source in raw["tested"].items()}
    sources = raw["tested"] | raw.get("hostile", {})
    return {kind: Program(language=name, source=text, proof_at=places.get(kind)) for kind, text in sources.items()}
