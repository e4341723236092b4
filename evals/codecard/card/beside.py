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
            **{name: getattr(cell.estimate, name, None) for name in ("value", "low", "high", "n")},
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
        cells = [cell_texts(cell) for cell in report.cells if cell.table == heading]
        tests = [test for test in report.row_tests if test.table == heading]
        parts += [f"## {heading}", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        parts += ["| " + " | ".join(map(_safe, texts)) + " |" for texts in cells]
        parts.append("")
        parts += [f"- {_safe(t.row)}: all {t.cells} cells at once, {omnibus(t.chi2, t.cells, t.p)}" for t in tests]
        parts += [f"- {line}" for line in assumptions.get(heading, [])]
        parts.append("")
    parts += [f"- {_safe(note)}" for note in report.notes]
    return "\n".join(parts).rstrip() + "\n"


def cell_texts(cell: CellReport) -> tuple[str, ...]:
    """The texts of COLUMNS for one cell."""
    reason = f": {cell.outcome.reason}" if cell.outcome.reason else ""
    judged = interval_text(cell), difference_text(cell), cell.outcome.rung.value + reason
    return cell.row, cell.column, cell.reported, cell.measured or "–", *judged


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


def omnibus(chi2: float, cells: int, p: float) -> str:
    return f"chi² {chi2:.2f} on {cells}, p = {p:.3f}"


def tally(report: Report) -> str:
    """`12 exact, 3 consistent, …, 37 not attempted of 52 cells`."""
    counts = Counter(cell.outcome.rung for cell in report.cells)
    said = ", ".join(f"{counts[rung]} {rung.value}" for rung in Rung if counts[rung])
    return f"{said or 'nothing'} of {len(report.cells)} cells"


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
