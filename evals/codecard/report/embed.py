"""A run's problems as data inside a page: a small index, and compressed blocks that are opened on demand.

Samples of a problem repeat its prompt and tests, so blocks of neighbouring samples compress five- to tenfold;
10,000 completions stay well below 30 MB, and the page parses nothing that is not looked at.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecard.model import Completion, Outcome, PromptStyle, SampleId, suite_of
from codecard.runs.reading import Run
from codecard.suites import known_suite
from codecard.text import clip

BLOCK_BYTES = 256 * 1024
"""Text per block before compression: a few milliseconds to open, enough repetition to compress."""
HEAD_CHARS, TAIL_CHARS = 100_000, 20_000
"""Of a longer text, the first and the last characters are shown; the journal has all of it."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """`index`: JSON that is safe inside a script element. `blocks`: base64 of gzipped JSON lists."""

    index: str
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One run, its samples grouped by problem."""

    run: Run
    samples: Mapping[Key, Sequence[SampleId]]

    def outcomes(self, key: Key) -> list[Outcome | None]:
        return [self.run.outcomes.get(sample) for sample in self.samples.get(key, ())]


def embed(runs: Sequence[Run]) -> Embedded:
    """Index and blocks of one run, or of base and new."""
    sides = [_side(run) for run in runs]
    keys = list(dict.fromkeys(key for side in sides for key in side.samples))
    tasks = list(dict.fromkeys(task for task, _ in keys))
    rows: list[list[Any]] = []
    blocks: list[str] = []
    pending: list[str] = []
    size = 0
    for key in keys:
        details = _dumps(_details(key, sides))
        if pending and size + len(details) > BLOCK_BYTES:
            blocks.append(_block(pending))
            pending, size = [], 0
        place, summaries = (len(blocks), len(pending)), [_summary(key, side) for side in sides]
        rows.append([tasks.index(key[0]), key[1], *place, summaries, _change(summaries), _slowest(key, sides)])
        pending.append(details)
        size += len(details)
    if pending:
        blocks.append(_block(pending))
    index = {"sides": [run.name for run in runs], "tasks": tasks, "rows": rows}
    return Embedded(index=_dumps(index).replace("<", "\\u003c"), blocks=tuple(blocks))


def _side(run: Run) -> _Side:
    samples: dict[Key, list[SampleId]] = {}
    for score in run.samples:
        samples.setdefault((score.task, score.problem), []).append((score.task, score.problem, score.sample))
    return _Side(run=run, samples={key: sorted(found) for key, found in samples.items()})


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _block(details: Sequence[str]) -> str:
    data = gzip.compress(f"[{','.join(details)}]".encode("ascii"), compresslevel=6, mtime=0)
    return base64.b64encode(data).decode("ascii")


def _summary(key: Key, side: _Side) -> dict[str, Any]:
    outcomes = side.outcomes(key)
    found = [outcome for outcome in outcomes if outcome is not None]
    valid = [outcome.value for outcome in found if outcome.value is not None]
    return {
        "total": sum(valid),
        "valid": len(valid),
        "void": len(outcomes) - len(valid),
        "verdicts": Counter(outcome.verdict for outcome in found if outcome.verdict),
        **({"rated": True} if known_suite(suite_of(key[0])).scale is not None else {}),
    }


def _change(summaries: Sequence[Mapping[str, Any]]) -> float | None:
    if len(summaries) < 2 or not all(side["valid"] for side in summaries):
        return None
    base, new = (side["total"] / side["valid"] for side in summaries)
    return round(float(new - base), 6)


def _slowest(key: Key, sides: Sequence[_Side]) -> float | None:
    walls = [found.facts.get("wall_s") for side in sides for found in side.outcomes(key) if found is not None]
    return max((round(float(wall), 3) for wall in walls if isinstance(wall, (int, float))), default=None)


def _details(key: Key, sides: Sequence[_Side]) -> dict[str, Any]:
    return {
        "prompt": next((text for text in (_prompt(key, side) for side in sides) if text), ""),
        "limits": next((text for text in (_limits(key[0], side.run) for side in sides) if text), ""),
        "sides": [[_sample(sample, side.run) for sample in side.samples.get(key, ())] for side in sides],
    }


def _limits(task: str, run: Run) -> str:
    """A task's limits in words."""
    key, profile = run.manifest.limits.get(task), str(run.manifest.profile.get("name", ""))
    return known_suite(suite_of(task)).limits_text(task, key, profile) if key else ""


def _sample(sample: SampleId, run: Run) -> dict[str, Any]:
    outcome = run.outcomes.get(sample)
    history = run.histories.get(sample, ())
    row: Mapping[str, Any] = outcome.facts if outcome is not None else {}
    value = outcome.value if outcome is not None else None
    graded = outcome is not None and outcome.graded
    return {
        "sample": sample[2],
        **_generated(history[-1] if history else None),
        "verdict": outcome.verdict if outcome is not None else None,
        "passed": None if value is None or graded else value == 1,
        "rating": value if graded else None,
        "void": str(outcome.void) if outcome is not None and outcome.void else "",
        **{name: row.get(name) for name in ("stage", "exit_code", "signal", "peak_memory_bytes", "image")},
        **{name: _rounded(row.get(name)) for name in ("cpu_s", "wall_s")},
        "attempts": row.get("attempts") or 1,
        **{name: _clip(row.get(name)) for name in ("stdout", "stderr", "program")},
        "turns": [_turn(turn) for turn in row.get("turns", ())],
    }


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """One turn of a judged dialogue."""
    texts = {name: _clip(turn.get(name)) for name in ("question", "answer", "judgment")}
    return {"turn": turn["turn"], "rating": turn.get("rating"), "void": turn.get("void") or "", **texts}


def _generated(completion: Completion | None) -> dict[str, Any]:
    if completion is None:
        return dict.fromkeys(("finish_reason", "prompt_tokens", "new_tokens", "seconds")) | {"text": "", "style": ""}
    return {
        "text": _clip(completion.text),
        "style": "chat" if completion.style is PromptStyle.CHAT else "raw",
        "finish_reason": completion.finish_reason.value,
        "prompt_tokens": completion.prompt_tokens,
        "new_tokens": completion.new_tokens,
        "seconds": _rounded(completion.seconds),
    }


def _rounded(value: object) -> float | None:
    return round(float(value), 4) if isinstance(value, (int, float)) else None


def _clip(value: object) -> str:
    return clip(value, HEAD_CHARS, TAIL_CHARS) if isinstance(value, str) else ""


def _prompt(key: Key, side: _Side) -> str:
    """The prompt as the run recorded it; else what stands before the completion in the program."""
    recorded = side.run.problems.get(key, {}).get("prompt")
    if isinstance(recorded, str):
        return _clip(recorded)
    for sample in side.samples.get(key, ()):
        history, outcome = side.run.histories.get(sample, ()), side.run.outcomes.get(sample)
        program = outcome.facts.get("program") if outcome is not None else None
        if history and isinstance(program, str) and history[0].style is PromptStyle.RAW and history[0].text.strip():
            at = program.find(history[0].text[:80])
            if at > 0:
                return _clip(program[:at])
    return ""
