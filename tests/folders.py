"""A run folder as any other tool reads it: JSON, and nothing of codecard's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SampleId = tuple[str, str, int]


def read_rows(path: Path) -> list[Row]:
    """The complete lines of a journal."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def sample_of(row: Row) -> SampleId:
    return row["task"], row["problem"], row["sample"]


def read_executions(run: Path) -> dict[SampleId, Row]:
    """The last row of each sample."""
    return {sample_of(row): row for row in read_rows(run / "executions.jsonl")}


def read_texts(run: Path) -> dict[SampleId, str | None]:
    """What the model wrote last of each sample."""
    return {sample_of(row): row.get("answer", row.get("completion")) for row in read_rows(run / "completions.jsonl")}


def read_scores(run: Path) -> Row:
    found: Row = json.loads((run / "scores.json").read_text())
    return found


def read_manifest(run: Path) -> Row:
    found: Row = json.loads((run / "manifest.json").read_text())
    return found
