"""Markdown for a CI job's step summary: the tables, what is void, and the problems that turned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from codecard.model import UsageError
from codecard.report.facts import ELSEWHERE
from codecard.report.pages import DECISIONS, PageTable, comparison_table
from codecard.runs.comparable import Side
from codecard.runs.reading import Run
from codecard.stats import Compared
from codecard.tables import markdown_rows
from codecard.text import markdown

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
FLIPS_SHOWN = 25


def run_summary(run: Run, reported: Mapping[str, str] | None = None) -> str:
    """A heading, and the tables and remarks of tables.md."""
    heading = f"## {markdown(run.model or ELSEWHERE)}\n\nRun {markdown(run.name)}\n\n"
    return heading + run.markdown(reported)


def comparison_summary(base: Side, new: Side, compared: Compared, warnings: Sequence[str] = ()) -> str:
    """The decision, the differences, and the flips in both directions."""
    _, meaning = DECISIONS[compared.decision]
    table = comparison_table(compared)
    lines = [
        f"## {markdown(new.name)} against {markdown(base.name)}: {compared.decision.value}",
        "",
        f"{meaning} Margin: {100 * compared.margin:g} points.",
        "",
        *(f"> {markdown(warning)}\n" for warning in warnings),
        *_rows(table),
        "",
    ]
    for title in ("Lost", "Gained"):
        flips: list[str] = [flip for c in compared.pooled.values() for flip in getattr(c, title.lower())]
        if not flips:
            continue
        shown = [f"- {markdown(flip)}" for flip in flips[:FLIPS_SHOWN]]
        more = [f"- and {len(flips) - FLIPS_SHOWN} more"] if len(flips) > FLIPS_SHOWN else []
        lines += [f"<details><summary>{title}: {len(flips)}</summary>", "", *shown, *more, "", "</details>", ""]
    return "\n".join(lines)


def append_step_summary(text: str) -> Path | None:
    """Append to the file that the CI job names, if it names one; returns its path."""
    target = os.environ.get(STEP_SUMMARY)
    if not target:
        return None
    try:
        with Path(target).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"cannot write the step summary {target}: {os.strerror(error.errno or 0)}") from None
    return Path(target)


def _rows(table: PageTable) -> list[str]:
    """The comparison's table; pooled rows stand out."""
    rows = [
        [row.label, *(f"{c.text} ({c.interval})" if c.interval else c.text for c in row.cells)] for row in table.rows
    ]
    bold = frozenset(place for place, row in enumerate(table.rows, 1) if row.average)
    return markdown_rows([list(table.columns), *rows], bold)
