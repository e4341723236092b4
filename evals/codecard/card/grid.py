"""A Markdown table read as numbers under labels: which columns hold numbers, which name the row."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codecard.card.markdown import Row, Table, plain, tokens
from codecard.card.numbers import NumberText, parse_number

_NOT_SCORES = {"size", "params", "parameters", "param", "context", "year", "rank", "layers", "id", "seed", "n"}
_NOT_SCORES |= {"epoch", "epochs", "step", "steps", "batch", "tokens", "heads", "shots", "samples", "length"}
_LOWER = {"ppl", "perplexity", "loss", "wer", "cer", "error", "latency", "fid"}
_AVERAGES = {"avg", "average", "mean"}
_BENCHMARKS = {"benchmark", "benchmarks", "task", "tasks", "dataset", "metric", "metrics", "evaluation", "eval"}
_QUESTIONS = re.compile(r"\(\s*(?:n\s*=\s*)?(\d+)\s*(?:questions|problems|items)?\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of scores. `questions` is the count its own header states (`Date (n=25)`), if it does."""

    index: int
    name: str
    average: bool
    lower_is_better: bool
    questions: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One score of a series: whose it is (`owner` tells apart what is called the same), where, and what."""

    owner: int
    label: str
    line: int
    number: NumberText


@dataclass(frozen=True, slots=True)
class Series:
    """The scores of one benchmark."""

    name: str
    average: bool
    lower_is_better: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table's score columns and what each row is called."""

    table: Table
    columns: tuple[Column, ...]
    by_rows: bool = False
    """Whether a row is a benchmark and a column a model, as the first heading says."""

    def series(self) -> list[Series]:
        """The groups of scores that are compared with each other: columns, or rows where these are benchmarks."""
        if self.by_rows:
            return [self._row_series(row) for row in self.table.rows]
        return [self._column_series(column) for column in self.columns]

    def _column_series(self, column: Column) -> Series:
        numbers = ((row, self.number(row, column)) for row in self.table.rows)
        entries = tuple(Entry(row.line, self.label(row), row.line, number) for row, number in numbers if number)
        return Series(column.name, column.average, column.lower_is_better, entries)

    def _row_series(self, row: Row) -> Series:
        label, words = self.label(row), tokens(self.label(row))
        average = bool(words) and words[0] in _AVERAGES
        lower_is_better = any("↓" in cell.text for cell in row.cells) or bool(_LOWER & set(words))
        numbers = ((column, self.number(row, column)) for column in self.columns)
        entries = tuple(Entry(column.index, column.name, row.line, number) for column, number in numbers if number)
        return Series(label, average, lower_is_better, entries)

    def label(self, row: Row) -> str:
        """The row's label cells as one text: `DeepSeek Coder 6.7B`."""
        scores = {column.index for column in self.columns}
        texts = (plain(cell.text) for i, cell in enumerate(row.cells) if i not in scores)
        return " ".join(text for text in texts if text)

    def number(self, row: Row, column: Column) -> NumberText | None:
        """The number in a cell; None where the cell is missing or holds none."""
        return parse_number(row.cells[column.index].text) if column.index < len(row.cells) else None


def read_grid(table: Table) -> Grid:
    """Find a table's score columns: mostly numbers, and not called a size, a year or the like."""
    columns = []
    for index, header in enumerate(table.header.cells):
        texts = [row.cells[index].text for row in table.rows if index < len(row.cells)]
        numeric = sum(parse_number(text) is not None for text in texts)
        labels = sum(parse_number(text) is None and not _missing(text) for text in texts)
        words = tokens(header.text)
        if numeric <= labels or (words and words[0] in _NOT_SCORES) or plain(header.text) == "#":
            continue
        stated = _QUESTIONS.search(header.text)
        columns.append(
            Column(
                index=index,
                name=plain(header.text),
                average=bool(words) and words[0] in _AVERAGES,
                lower_is_better="↓" in header.text or bool(_LOWER & set(words)),
                questions=int(stated[1]) if stated else None,
            )
        )
    first = set(tokens(table.header.cells[0].text)) if table.header.cells else set()
    return Grid(table=table, columns=tuple(columns), by_rows=bool(first & _BENCHMARKS))


def _missing(text: str) -> bool:
    return text.strip("*_ ").lower() in {"", "-", "–", "—", "n/a", "na", "nan", "tbd", "?", "x"}
