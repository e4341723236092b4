"""The run folder: append-only journals, resume, importers."""

from __future__ import annotations

from codecard.store.journal import CorruptJournal, Journal, read_journal
from codecard.store.run_folder import (
    STAGES,
    RunFolder,
    completion_of,
    completion_row,
    read_completions,
    read_executions,
    read_manifest,
    read_problems,
    read_scores,
    row_id,
    write_text,
)

__all__ = [
    "STAGES",
    "CorruptJournal",
    "Journal",
    "RunFolder",
    "completion_of",
    "completion_row",
    "read_completions",
    "read_executions",
    "read_journal",
    "read_manifest",
    "read_problems",
    "read_scores",
    "row_id",
    "write_text",
]
