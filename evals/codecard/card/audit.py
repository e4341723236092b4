"""Read a card as an auditor does: does its arithmetic hold, and do its parts agree with each other?

Nothing is measured here. A finding is a contradiction that the document itself proves, or a row that is known
to be quoted from elsewhere without saying so.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from codecard.card.audit_tables import Finding, audit_table
from codecard.card.frontmatter import IndexEntry, index_entries
from codecard.card.grid import Grid, read_grid
from codecard.card.markdown import Row, find_tables, tokens
from codecard.card.numbers import NumberText, Rounding, bounds
from codecard.card.reported import ReportedTable, find_definition, number

__all__ = ["Finding", "audit", "own_rows"]


def audit(document: str, known: tuple[ReportedTable, ...] = ()) -> list[Finding]:
    """All findings of a card, by line.

    `known` are published tables: they tell how many questions stand behind a column, and which rows were
    published elsewhere first. Raises UsageError where the front matter is not YAML.
    """
    grids = [read_grid(table) for table in find_tables(document)]
    findings = [
        finding for grid in grids for finding in audit_table(document, grid, find_definition(known, grid.table))
    ]
    entries = index_entries(document)
    findings += _contradictions(entries, grids, known)
    findings += _merged(entries)
    return sorted(findings, key=lambda finding: (finding.line, finding.kind))


def own_rows(model: str, grid: Grid) -> list[Row]:
    """The rows that carry a model's name, what stands in parentheses aside: the best match, or several."""
    wanted = set(tokens(model.rsplit("/", 1)[-1]))
    scored: list[tuple[int, Row]] = []
    for row in grid.table.rows:
        words = set(tokens(_outside_parentheses(grid.label(row))))
        if words and words <= wanted and (len(words) > 1 or words == wanted):
            scored.append((len(words), row))
    best = max((score for score, _ in scored), default=0)
    return [row for score, row in scored if score == best]


def _outside_parentheses(label: str) -> str:
    while "(" in label and ")" in label[label.index("(") :]:
        start = label.index("(")
        label = label[:start] + " " + label[label.index(")", start) + 1 :]
    return label


def _contradictions(
    entries: list[IndexEntry], grids: list[Grid], known: tuple[ReportedTable, ...]
) -> Iterator[Finding]:
    """Front matter against body: an entry must agree with some cell of its own model in its column."""
    for entry in entries:
        value = _decimal(entry.value)
        if value is None:
            continue
        cells = list(_body_cells(entry, grids))
        if not cells or any(_agree(value, cell) for *_, cell in cells):
            continue
        shown = ", ".join(
            f"{cell.shown.replace('*', '')} ({grid.label(row)}, line {row.line})" for grid, row, cell in cells
        )
        message = (
            f"the model-index gives {entry.value} for {entry.title}; "
            f"the table {cells[0][0].table.heading!r} says {shown}"
        )
        yield Finding(entry.line, "front_matter", message + _published_elsewhere(entry, value, known))


def _body_cells(entry: IndexEntry, grids: list[Grid]) -> Iterator[tuple[Grid, Row, NumberText]]:
    """The cells of an entry's model in the columns whose name is part of the entry's title: the longest such names."""
    title = set(tokens(entry.title))
    for grid in grids:
        named = [(column, tokens(column.name)) for column in grid.columns if not column.average]
        fitting = [(len(words), column) for column, words in named if words and title.issuperset(words)]
        most = max((length for length, _ in fitting), default=0)
        columns = [column for length, column in fitting if length == most]
        for column, row in itertools.product(columns, own_rows(entry.model, grid)):
            if (cell := grid.number(row, column)) is not None:
                yield grid, row, cell


def _agree(value: Decimal, cell: NumberText) -> bool:
    """Whether both texts can stand for one number, as a fraction or in percent."""
    low, high = bounds(cell.value, cell.decimals, Rounding.NEAREST)
    places = max(0, -int(value.as_tuple().exponent))
    own_low, own_high = bounds(value, places, Rounding.NEAREST)
    scales = (Decimal(1), Decimal(100), Decimal("0.01"))
    return any(own_low <= high * scale and low * scale <= own_high for scale in scales)


def _published_elsewhere(entry: IndexEntry, value: Decimal, known: tuple[ReportedTable, ...]) -> str:
    for table in known:
        if not table.front_matter:
            continue
        for row, column, shown in table.cells():
            if row.quoted_from and tokens(column.name) == tokens(entry.title) and number(shown).value == value:
                return f"; it is the value of {row.quoted_from}"
    return ""


def _merged(entries: list[IndexEntry]) -> Iterator[Finding]:
    """Entries given twice, results with one metric several times, entries the Hub's library will merge."""
    identity = operator.attrgetter("model", "identity")
    for _, group in itertools.groupby(sorted(entries, key=identity), key=identity):
        members = sorted(group, key=lambda entry: entry.line)
        yield from _repeats(members)
        names = list(dict.fromkeys(entry.title for entry in members))
        if len(names) > 1:
            message = (
                f"{len(names)} results share task, data set type, config, split and revision "
                f"({', '.join(names)}): huggingface_hub merges them into one when it writes the card; "
                "set config, split and revision"
            )
            yield Finding(members[0].dataset_line, "merged", message)


def _repeats(members: list[IndexEntry]) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], list[IndexEntry]] = {}
    for entry in members:
        key = (entry.title, entry.metric_type, entry.metric_name)
        seen.setdefault(key, []).append(entry)
    for (title, metric, name), same in seen.items():
        if len(same) == 1:
            continue
        first, second = same[0], same[1]
        values = ", ".join(entry.value for entry in same)
        if first.dataset_line == second.dataset_line:
            what = f"{len(same)} values of {name or metric} ({values})"
            message = f"one result, {title}, holds {what}: entries were merged"
            yield Finding(second.line, "merged", message)
        else:
            message = f"{title}, {name or metric} is given {len(same)} times ({values}), first on line {first.line}"
            yield Finding(second.line, "duplicate", message)


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text.strip().rstrip("%"))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
