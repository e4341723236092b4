"""The faults that one table can prove against itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from codecard.card.grid import Column, Entry, Grid, Series
from codecard.card.markdown import Row, heading_lines, tokens
from codecard.card.numbers import NumberText, Rounding, bounds, counts_shown, format_value
from codecard.card.reported import ReportedRow, ReportedTable, number

_CREDIT = re.compile(
    r"\b(quoted|taken from|copied from|cited from|reported (by|in)|as published|published (by|in))\b", re.I
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a card: 1-based line, kind, and what is wrong in a sentence.

    Kinds: average, rounding, bold, impossible, quoted, duplicate, merged, front_matter.
    """

    line: int
    kind: str
    message: str


def audit_table(document: str, grid: Grid, known: ReportedTable | None) -> list[Finding]:
    """All findings of one table."""
    return [
        *_averages(grid),
        *_decimals(grid, known),
        *_counts(grid, known),
        *_bold(grid),
        *_duplicates(grid),
        *_quoted(document, grid, known),
    ]


def _averages(grid: Grid) -> Iterator[Finding]:
    """An average must be that of the shown cells, or at least of values that would be shown so."""
    series = grid.series()
    parts = [{entry.owner: entry.number for entry in part.entries} for part in series if not part.average]
    for average in series:
        if not average.average or len(parts) < 2:
            continue
        for entry in average.entries:
            cells = [part[entry.owner] for part in parts if entry.owner in part]
            if len(cells) == len(parts) and len({cell.percent for cell in cells}) == 1:
                yield from _average(average.name, entry, cells)


def _average(name: str, entry: Entry, cells: list[NumberText]) -> Iterator[Finding]:
    count, shown = len(cells), entry.number
    mean = sum((cell.value for cell in cells), Decimal(0)) / count
    low, high = bounds(shown.value, shown.decimals, Rounding.NEAREST)
    if low <= mean <= high:
        return
    ranges = [bounds(cell.value, cell.decimals, Rounding.NEAREST) for cell in cells]
    least = sum((pair[0] for pair in ranges), Decimal(0)) / count
    most = sum((pair[1] for pair in ranges), Decimal(0)) / count
    would = format_value(mean, shown.decimals, Rounding.NEAREST)
    if format_value(mean, shown.decimals, Rounding.TRUNCATE) == shown.digits:
        why = "it is that mean cut off instead of rounded"
    elif least <= high and low <= most:
        why = f"averaging before rounding could explain it (the mean then lies in {least:.4f} to {most:.4f})"
    else:
        why = f"no unrounded values explain it (their mean lies in {least:.4f} to {most:.4f})"
    yield Finding(
        entry.line,
        "average",
        f"{name} of {entry.label} is {shown.digits}, but the mean of its {count} cells is "
        f"{mean:.4f}, shown as {would}; {why}",
    )


def _decimals(grid: Grid, known: ReportedTable | None) -> Iterator[Finding]:
    """A benchmark keeps one number of decimals, unless its values are known to be exact."""
    if known is not None and known.rounding is Rounding.EXACT:
        return
    odd: dict[int, list[str]] = {}
    for series in grid.series():
        counts = Counter(entry.number.decimals for entry in series.entries)
        _, usual = max(((count, decimals) for decimals, count in counts.items()), default=(0, 0))
        for entry in series.entries:
            if entry.number.decimals != usual:
                odd.setdefault(entry.line, []).append(
                    f"{series.name} {entry.number.digits} of {entry.label} has {entry.number.decimals} decimals, "
                    f"the others {usual}"
                )
    for line, faults in odd.items():
        yield Finding(line, "rounding", "mixed rounding: " + "; ".join(faults))


def _counts(grid: Grid, known: ReportedTable | None) -> Iterator[Finding]:
    """A percentage of n questions is k/n: which texts are impossible, and which were cut off."""
    for row in grid.table.rows:
        cut_off = []
        for column in grid.columns:
            cell, questions = grid.number(row, column), _questions(column, known)
            if cell is None or questions is None:
                continue
            percent, decimals = _as_percent(cell, known)
            rounded, cut = counts_shown(percent, decimals, questions)
            if rounded is None and cut is None:
                yield Finding(
                    row.line,
                    "impossible",
                    f"{cell.digits} in {column.name} of {grid.label(row)} is no count of {questions} "
                    f"questions: the nearest are {_nearest(percent, decimals, questions)}",
                )
            elif rounded is None and cut is not None:
                whole = Decimal(100 * cut) / questions
                cut_off.append(f"{column.name} {cell.digits} is {cut}/{questions} = {whole:.3f}%")
        if cut_off:
            yield Finding(row.line, "rounding", f"{grid.label(row)} is cut off, not rounded: " + "; ".join(cut_off))


def _questions(column: Column, known: ReportedTable | None) -> int | None:
    """How many right-or-wrong questions, each asked once, stand behind a column; None where unknown."""
    if column.average or column.questions is not None:
        return None if column.average else column.questions
    found = known.column(column.name) if known and known.ladder in ("count", "accuracy") else None
    return found.questions if found and found.counts else None


def _as_percent(cell: NumberText, known: ReportedTable | None) -> tuple[Decimal, int]:
    """The cell in percent: as it stands with a percent sign or above 1, else times 100."""
    fraction = not cell.percent and cell.value <= 1 and (known is None or known.unit == "fraction")
    return (cell.value * 100, max(0, cell.decimals - 2)) if fraction else (cell.value, cell.decimals)


def _nearest(percent: Decimal, decimals: int, questions: int) -> str:
    k = min(questions - 1, max(0, int(percent * questions / 100)))
    shown = (format_value(Decimal(100 * i) / questions, decimals, Rounding.NEAREST) for i in (k, k + 1))
    return " and ".join(f"{text} ({i}/{questions})" for i, text in zip((k, k + 1), shown, strict=True))


def _bold(grid: Grid) -> Iterator[Finding]:
    """Bold marks the best of a benchmark: all of the best, and nothing else.

    A table that bolds nothing, or all scores of one model (its own), follows another custom and is left alone.
    """
    every = grid.series()
    scores = [entry for series in every for entry in series.entries]
    owners = {entry.owner for entry in scores if entry.number.bold}
    own = [entry.number.bold for entry in scores if entry.owner in owners]
    if not owners or (len(owners) == 1 and len(every) > 1 and all(own)):
        return
    for series in every:
        if len(series.entries) > 1:
            yield from _bold_of(series)


def _bold_of(series: Series) -> Iterator[Finding]:
    values = [entry.number.value for entry in series.entries]
    best = min(values) if series.lower_is_better else max(values)
    wrong = [entry for entry in series.entries if entry.number.bold and entry.number.value != best]
    missed = [entry for entry in series.entries if not entry.number.bold and entry.number.value == best]
    marked = [entry for entry in series.entries if entry.number.bold and entry.number.value == best]
    for entry in wrong:
        also = f", which is bold too (line {marked[0].line}): two bold scores in one column" if marked else ""
        message = f"{entry.number.digits} of {entry.label} is bold in {series.name}, but the best is {best}{also}"
        yield Finding(entry.line, "bold", message)
    if missed and not wrong:
        digits, labels = missed[0].number.digits, ", ".join(entry.label for entry in missed)
        if marked:
            others = ", ".join(f"{entry.label}, line {entry.line}" for entry in marked)
            message = f"{digits} of {labels} ties for the best in {series.name} and is not bold, as {others} is"
        else:
            message = f"{series.name} marks no best ({digits} of {labels}), though others do"
        yield Finding(missed[0].line, "bold", message)


def _duplicates(grid: Grid) -> Iterator[Finding]:
    names = [column.name for column in grid.columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            yield Finding(grid.table.header.line, "duplicate", f"two columns are called {name}")
    if not names:
        return
    scores = {column.index for column in grid.columns}
    first: dict[tuple[str, ...], int] = {}
    for row in grid.table.rows:
        label = tuple(cell.text.strip("*_ ").casefold() for i, cell in enumerate(row.cells) if i not in scores)
        if not any(label):
            continue
        if label in first:
            message = f"{grid.label(row)} has two rows; the first is on line {first[label]}"
            yield Finding(row.line, "duplicate", message)
        first.setdefault(label, row.line)


def _quoted(document: str, grid: Grid, known: ReportedTable | None) -> Iterator[Finding]:
    """A row that equals, cell for cell, one published elsewhere before must name its source."""
    if known is None:
        return
    for published in known.rows:
        for row in grid.table.rows if published.quoted_from else ():
            if _equals(grid, row, published, known) and not _credited(document, grid, row, published):
                yield Finding(
                    row.line,
                    "quoted",
                    f"{grid.label(row)} is quoted, not measured: it equals, cell for cell, "
                    f"{published.quoted_from}; the card does not say so",
                )


def _equals(grid: Grid, row: Row, published: ReportedRow, known: ReportedTable) -> bool:
    shown = {tokens(column.name): grid.number(row, column) for column in grid.columns}
    names = [tokens(column.name) for column in known.columns]
    pairs = [(shown.get(name), number(text)) for name, text in zip(names, published.cells, strict=True)]
    return all(cell is not None and cell.value == text.value for cell, text in pairs)


def _credited(document: str, grid: Grid, row: Row, published: ReportedRow) -> bool:
    """Whether the row, or the prose of its section, names the source or says that the row is quoted."""
    table = grid.table
    lines = document.split("\n")
    marks = heading_lines(document)
    start = max((mark for mark in marks if mark < table.header.line), default=1)
    end = min((mark for mark in marks if mark > table.end_line), default=len(lines) + 1)
    prose = [*lines[start - 1 : table.header.line - 1], *lines[table.end_line : end - 1], lines[row.line - 1]]
    source = published.quoted_from.split()[0].lower()
    return any(_CREDIT.search(line) or source in line.lower() for line in prose)
