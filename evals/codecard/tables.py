"""Tables as text: the same lines for the terminal, Markdown and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from codecard.model import Estimate, Table, TableCell
from codecard.text import markdown, printable

WIDEST = 8
"""Columns above which a table is turned on its side."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a shown table. `kind`: value, interval, count or reported."""

    kind: str
    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready to be drawn: a heading a column, then lines. `aside`: it stands on its side."""

    title: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    aside: bool


def grid_of(table: Table, reported: Mapping[str, str] | None = None) -> Grid:
    """Each row's value and 95 % interval, and the problems behind them; `reported` (task → number as published) beside.

    Where all rows stand on as many problems, these are said once.
    """
    lines: list[Line] = []
    counts = [tuple(_count(cell.estimate) for cell in cells) for _, cells in table.rows]
    once = len(set(counts)) == 1
    for (label, cells), count in zip(table.rows, counts, strict=True):
        lines.append(Line("value", label, tuple(_value(table, cell) for cell in cells)))
        lines.append(Line("interval", "95 %", tuple(table.unit.interval(cell.estimate) for cell in cells)))
        if not once:
            lines.append(Line("count", table.counts, count))
    shown = [(reported or {}).get(task, "") for _, task in table.columns]
    if any(shown):
        lines.append(Line("reported", "reported", tuple(shown)))
    if once:
        lines.append(Line("count", table.counts, counts[0]))
    heads = tuple(title for title, _ in table.columns)
    return Grid(title=table.title, heads=heads, lines=tuple(lines), aside=len(heads) > WIDEST)


def rows_of(grid: Grid, corner: str = "") -> list[list[str]]:
    """Heading and rows as plain cells, turned on its side where the grid is."""
    rows = [[corner, *grid.heads], *([line.label, *line.cells] for line in grid.lines)]
    return [list(row) for row in zip(*rows, strict=True)] if grid.aside else rows


def _value(table: Table, cell: TableCell) -> str:
    if cell.text:
        return cell.text
    return (
        "–"
        if cell.estimate is None
        else "void"
        if cell.estimate.value is None
        else table.unit.text(cell.estimate.value)
    )


def _count(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.n}" + (f" +{estimate.void} void" if estimate.void else "")


# ---------------------------------------------------------------- renderers


def markdown_rows(rows: Sequence[Sequence[str]], bold: frozenset[int] = frozenset()) -> list[str]:
    """A pipe table: the first row is its heading, those in `bold` stand out."""
    cells = [[markdown(cell) for cell in row] for row in rows]
    lines = ["| " + " | ".join(cells[0]) + " |", "|---|" + "---:|" * (len(cells[0]) - 1)]
    for number, row in enumerate(cells[1:], 1):
        shown = [f"**{row[0]}**", *row[1:]] if number in bold else row
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def markdown_tables(
    tables: Sequence[Table], label: str, remarks: Sequence[str], reported: Mapping[str, str] | None = None
) -> str:
    """What tables.md holds: a heading and a table a suite, then what must be read with them."""
    parts = []
    for table in tables:
        rows = rows_of(grid_of(table, reported), label)
        parts.append("\n".join([f"### {markdown(table.title)}", "", *markdown_rows(rows), ""]))
    if remarks:
        parts.append("\n".join(f"- {markdown(line)}" for line in remarks) + "\n")
    return "\n".join(parts)


def html_tables(tables: Sequence[Table], label: str, remarks: Sequence[str]) -> str:
    """The same as HTML, for a notebook; everything in it is escaped."""
    parts = []
    for table in tables:
        head, *body = rows_of(grid_of(table), label)
        cells = "".join(f"<th>{_html(cell)}</th>" for cell in head)
        lines = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in body)
        caption = f"<caption>{_html(table.title)}</caption>"
        parts.append(f"<table>{caption}<thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>")
    if remarks:
        parts.append("<ul>" + "".join(f"<li>{_html(line)}</li>" for line in remarks) + "</ul>")
    return "".join(parts)


def _html(text: str) -> str:
    return escape(printable(text))
