"""Reported beside measured as Markdown and as plain rows for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from codecard.card.reproduce import CellReport, Report
from codecard.stats.reproduction import Rung

COLUMNS = ("row", "column", "reported", "measured", "95% interval", "difference", "verdict")


def report_rows(report: Report) -> list[dict[str, Any]]:
    """One mapping a cell, for `--json`: names are a contract."""
    return [
        {
            "table": cell.table,
            "line": cell.line,
            "row": cell.row,
            "column": cell.column,
            "reported": cell.reported,
            "measured": cell.measured or None,
            "value": cell.estimate.value if cell.estimate else None,
            "low": cell.estimate.low if cell.estimate else None,
            "high": cell.estimate.high if cell.estimate else None,
            "n": cell.estimate.n if cell.estimate else None,
            "verdict": cell.outcome.rung.value,
            "difference": cell.outcome.difference,
            "standard_error": cell.outcome.se,
            "p": cell.outcome.p,
            "reason": cell.outcome.reason,
            "model": cell.model,
            "run": cell.where,
        }
        for cell in report.cells
    ]


def beside_markdown(report: Report, assumptions: Mapping[str, list[str]]) -> str:
    """A table for each of the card's, with the assumptions it rests on; `assumptions` by table heading."""
    parts = ["# Reported beside measured", "", tally(report), ""]
    for heading in dict.fromkeys(cell.table for cell in report.cells):
        parts += [f"## {heading}", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        parts += ["| " + " | ".join(_safe(text) for text in cell_texts(cell)) + " |" for cell in _of(report, heading)]
        parts.append("")
        for test in report.row_tests:
            if test.table == heading:
                parts.append(
                    f"- {_safe(test.row)}: all {test.cells} cells at once, {omnibus(test.chi2, test.cells, test.p)}"
                )
        parts += [f"- {line}" for line in assumptions.get(heading, [])]
        parts.append("")
    parts += [f"- {_safe(note)}" for note in report.notes]
    return "\n".join(parts).rstrip() + "\n"


def cell_texts(cell: CellReport) -> tuple[str, ...]:
    """The texts of COLUMNS for one cell."""
    return (
        cell.row,
        cell.column,
        cell.reported,
        cell.measured or "–",
        interval_text(cell),
        difference_text(cell),
        verdict_text(cell),
    )


def interval_text(cell: CellReport) -> str:
    """The interval across problems in the table's unit, with n."""
    estimate = cell.estimate
    if not cell.measured or estimate is None or estimate.low is None or estimate.high is None:
        return ""
    decimals = len(cell.measured.partition(".")[2])
    return f"{estimate.low * cell.scale:.{decimals}f} to {estimate.high * cell.scale:.{decimals}f} (n={estimate.n})"


def difference_text(cell: CellReport) -> str:
    """Ours minus the published value, in the table's unit, with the error within problems it is judged by."""
    outcome = cell.outcome
    if outcome.difference is None:
        return ""
    decimals = max(2, len(cell.measured.partition(".")[2]) + 1)
    error = f" ± {1.96 * outcome.se * cell.scale:.{decimals}f}" if outcome.se is not None else ""
    return f"{outcome.difference * cell.scale:+.{decimals}f}{error}"


def verdict_text(cell: CellReport) -> str:
    """The rung, and its reason where it has one."""
    return cell.outcome.rung.value + (f": {cell.outcome.reason}" if cell.outcome.reason else "")


def omnibus(chi2: float, cells: int, p: float) -> str:
    return f"chi² {chi2:.2f} on {cells}, p = {p:.3f}"


def tally(report: Report) -> str:
    """`12 exact, 3 consistent, …, 37 not attempted of 52 cells`."""
    counts = Counter(cell.outcome.rung for cell in report.cells)
    said = ", ".join(f"{counts[rung]} {rung.value}" for rung in Rung if counts[rung])
    return f"{said or 'nothing'} of {len(report.cells)} cells"


def _of(report: Report, heading: str) -> list[CellReport]:
    return [cell for cell in report.cells if cell.table == heading]


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
