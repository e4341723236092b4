"""The SQL table in the card's shape: counts and percent by category, under each comparer, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from codecard.score import wilson

Row = Mapping[str, Any]

TITLES = {
    "sql/date": "Date",
    "sql/group_by": "Group By",
    "sql/order_by": "Order By",
    "sql/ratio": "Ratio",
    "sql/join": "Join",
    "sql/where": "Where",
}
"""The card's columns."""

LISTED = 20
"""Questions named in a remark before it says how many more there are."""


def _columns(rows: Sequence[Row]) -> dict[str, str]:
    """Task → title: the card's six where present, in its order, then the others by name."""
    present = {str(row["task"]) for row in rows}
    others = sorted(present - TITLES.keys())
    card = {task: title for task, title in TITLES.items() if task in present}
    return card | {task: task.removeprefix("sql/").replace("_", " ") for task in others}


def _cell(values: Sequence[bool | None]) -> tuple[str, str]:
    """`k/N (p %)` and the 95 % Wilson interval in percent, over the values that are not void."""
    known = [value for value in values if value is not None]
    if not known:
        return "–", ""
    passed = sum(known)
    low, high = wilson(passed / len(known), len(known))
    return f"{passed}/{len(known)} ({100 * passed / len(known):.1f})", f"{100 * low:.0f}–{100 * high:.0f}"


def sql_grid(label: str, rows: Iterable[Row]) -> list[list[str]]:
    """Header, then two lines for each comparer: counts and intervals. The card's number is the `reference` line."""
    rows = list(rows)
    columns = _columns(rows)
    grid = [["Model", "All", *columns.values()]]
    for comparer in ("reference", "strict", "robust"):
        field = f"{comparer}_passed"
        if not any(field in row for row in rows):
            continue
        groups = [rows, *([row for row in rows if row["task"] == task] for task in columns)]
        cells = [_cell([row.get(field) for row in group]) for group in groups]
        grid.append([f"{label}, {comparer}", *(value for value, _ in cells)])
        grid.append(["95 % interval", *(interval for _, interval in cells)])
    return grid


def sql_table(label: str, rows: Iterable[Row]) -> Table:
    """In the card's shape; turned on its side where there are more categories than the card has."""
    table = Table(title="SQL by category: correct / questions (percent)", title_style="bold")
    grid = sql_grid(label, rows)
    aside = len(grid[0]) > len(TITLES) + 2
    header, *body = map(list, zip(*grid, strict=True)) if aside else grid
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if at else "left")
    for at, line in enumerate(body):
        table.add_row(*line, style="dim" if at % 2 and not aside else "")
    return table


def sql_markdown(label: str, rows: Iterable[Row]) -> str:
    header, *body = sql_grid(label, rows)
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def sql_remarks(rows: Iterable[Row]) -> list[str]:
    """What a reader of the table has to know: where the comparers differ, and golds that prove nothing."""
    rows = list(rows)
    differing = [r for r in rows if r.get("reference_passed") is not r.get("strict_passed") and not r.get("void")]
    kinder = [row for row in differing if row["reference_passed"]]
    harsher = [row for row in differing if row["strict_passed"]]
    lines = []
    for found, what in ((kinder, "passed by reference alone"), (harsher, "passed by strict alone")):
        if found:
            lines.append(f"{what}: {_listed(found)}")
    bad = [row for row in rows if row.get("known_bad")]
    if bad:
        lines.append(f"gold finds only NULL (any query that finds nothing is right): {_listed(bad)}")
    return lines


def _listed(rows: Sequence[Row]) -> str:
    names = [f"{row['problem']}" for row in rows]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
