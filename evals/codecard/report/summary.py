"""Markdown for a CI job's step summary: the tables, what is void, and the problems that turned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from codecard.model import Comparison, UsageError
from codecard.report.facts import model_of
from codecard.report.pages import DECISIONS, TableRow, comparison_table, remarks_of, results_tables
from codecard.report.text import markdown
from codecard.score import Compared
from codecard.store.outcomes import Outcomes, RunData

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
FLIPS_SHOWN = 25


def run_summary(run: RunData, reported: Mapping[str, str] | None = None) -> str:
    """A heading and one table a suite."""
    lines = [f"## {markdown(model_of(run.manifest))}", "", f"Run {markdown(run.name)}", ""]
    lines += [f"> {markdown(remark)}\n" for remark in remarks_of(run)]
    for table in results_tables(run, reported or {}):
        lines += [f"### {markdown(table.title)}", "", *_table(table.columns, table.rows), "", markdown(table.caption)]
        lines.append("")
    return "\n".join(lines)


def comparison_summary(base: Outcomes, new: Outcomes, compared: Compared, warnings: Sequence[str] = ()) -> str:
    """The decision, the differences, and the flips in both directions."""
    _, meaning = DECISIONS[compared.decision]
    table = comparison_table(compared)
    lines = [
        f"## {markdown(new.name)} against {markdown(base.name)}: {compared.decision.value}",
        "",
        f"{meaning} Margin: {100 * compared.margin:g} points.",
        "",
        *(f"> {markdown(warning)}\n" for warning in warnings),
        *_table(table.columns, table.rows),
        "",
    ]
    for title, flips in _flips(compared.pooled):
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


def _flips(pooled: Mapping[str, Comparison]) -> Iterable[tuple[str, list[str]]]:
    lost = [flip for comparison in pooled.values() for flip in comparison.lost]
    gained = [flip for comparison in pooled.values() for flip in comparison.gained]
    return [(title, flips) for title, flips in (("Lost", lost), ("Gained", gained)) if flips]


def _table(columns: Sequence[str], rows: Sequence[TableRow]) -> list[str]:
    lines = ["| " + " | ".join(markdown(column) for column in columns) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        cells = [markdown(f"{c.text} ({c.interval})" if c.interval else c.text) for c in row.cells]
        label = markdown(row.label)
        lines.append("| " + " | ".join([f"**{label}**" if row.average else label, *cells]) + " |")
    return lines
