"""Programs whose outcome is known: they tell a broken sandbox from a broken program."""

from __future__ import annotations

import tomllib
from functools import cache

from codecard.languages import find_language
from codecard.model import Limits, Program, StageLimits, UsageError

GENEROUS = Limits(run=StageLimits(cpu_s=30, wall_s=120), build=StageLimits(cpu_s=120, wall_s=300))


@cache
def known_programs(name: str) -> dict[str, Program]:
    """Programs in the language's `doctor.toml` by kind: `good`, `wrong` and so on, with the place of their proof, and
    those that try a wall (`memory`, `network`, …). Raises UsageError where the language has none."""
    found = find_language(name)
    path = found.folder / "doctor.toml"
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    tested = {kind: (source, found.proof.offset(source)) for kind, source in raw["tested"].items()}
    programs = {**tested, **{kind: (source, None) for kind, source in raw.get("hostile", {}).items()}}
    return {kind: Program(language=name, source=text, proof_at=at) for kind, (text, at) in programs.items()}
