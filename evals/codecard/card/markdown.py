"""Markdown tables as cells with places, so that writing one cell changes nothing else of the document.

Pipe tables of GitHub-flavoured Markdown: a header line, an alignment row, body rows. Tables inside fenced
code and inside the front matter are text, not tables. A cell's place is a pair of offsets into the document.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

_ALIGNMENT = re.compile(r":?-+:?")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_LINE = re.compile(r"^(.*?)\r?$", re.MULTILINE)
"""Only `\\n` and `\\r\\n` end a line."""
_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_MARKS = re.compile(r"<br\s*/?>|[*_`✱▲†‡^↑↓]|\[([^\[\]]*)\]\([^()]*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCell:
    """What stands between two pipes: `text` without the padding, `start` and `end` with it."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    line: int
    """1-based line number in the document."""
    cells: tuple[TextCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A pipe table. `heading` is the nearest heading above it, `end_line` its last line."""

    heading: str
    header: Row
    alignment_line: int
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(plain(cell.text) for cell in self.header.cells)

    @property
    def end_line(self) -> int:
        return self.rows[-1].line if self.rows else self.alignment_line

    def cell(self, row: Row, column: str) -> TextCell | None:
        """A row's cell in the column with this name, marks and case aside."""
        wanted = tokens(column)
        cells = zip(self.columns, row.cells, strict=False)
        return next((cell for name, cell in cells if tokens(name) == wanted), None)


def plain(text: str) -> str:
    """A label as words: links by their text, no emphasis, footnote marks or line breaks."""
    bare = _MARKS.sub(lambda match: match[1] or " ", text)
    return re.sub(r"\s+", " ", bare).strip().strip(":")


def tokens(text: str) -> tuple[str, ...]:
    """Words of a label for comparison: lower case; `C++` and `C#` stay themselves."""
    return tuple(re.findall(r"[a-z]\+\+|[a-z]#(?![a-z])|\d+(?:\.\d+)?[a-z]*|[a-z]+", plain(text).lower()))


def body_start(document: str) -> int:
    """Offset of the first character after the front matter (0 where there is none)."""
    match = re.match(r"---[ \t]*\r?\n(?:.*?\r?\n)??---[ \t]*(?:\r?\n|\Z)", document, re.DOTALL)
    return match.end() if match else 0


def heading_lines(document: str) -> list[int]:
    """Line number of each heading outside code and front matter."""
    return [number for number, _, line in _prose(document) if _HEADING.match(line)]


def find_tables(document: str) -> list[Table]:
    """All pipe tables of a document, in order."""
    prose = list(_prose(document))
    tables: list[Table] = []
    heading, index = "", 0
    while index < len(prose):
        _, _, line = prose[index]
        if match := _HEADING.match(line):
            heading = plain(match[2])
        table = _table_at(prose, index, heading)
        if table:
            tables.append(table)
        index += 2 + len(table.rows) if table else 1
    return tables


def _prose(document: str) -> list[tuple[int, int, str]]:
    """(line number, offset, text) of the lines outside the front matter and fenced code."""
    skip, fence = body_start(document), ""
    kept = []
    for number, found in enumerate(_LINE.finditer(document), start=1):
        offset, line = found.start(), found[1]
        if offset < skip:
            continue
        match = _FENCE.match(line)
        if fence:
            closing = line.strip()
            if match and set(closing) == {fence[0]} and len(closing) >= len(fence):
                fence = ""
            continue
        if match:
            fence = match[1]
            continue
        kept.append((number, offset, line))
    return kept


def _table_at(prose: list[tuple[int, int, str]], index: int, heading: str) -> Table | None:
    if index + 1 >= len(prose) or "|" not in prose[index][2]:
        return None
    number, offset, line = prose[index]
    below = prose[index + 1]
    if below[0] != number + 1:
        return None
    header = Row(line=number, cells=_cells(line, offset))
    rule = _cells(below[2], below[1])
    if len(rule) != len(header.cells) or not all(_ALIGNMENT.fullmatch(cell.text) for cell in rule):
        return None
    rows: list[Row] = []
    for row_number, row_offset, text in prose[index + 2 :]:
        if row_number != number + 2 + len(rows) or "|" not in text or not text.strip():
            break
        rows.append(Row(line=row_number, cells=_cells(text, row_offset)))
    return Table(heading=heading, header=header, alignment_line=below[0], rows=tuple(rows))


def _cells(line: str, offset: int) -> tuple[TextCell, ...]:
    """Split a line at its unescaped pipes; the outer pipes are optional."""
    bars = [m.start() for m in re.finditer(r"(?<!\\)\|", line)]
    edges = list(bars)
    if not bars or line[: bars[0]].strip():
        edges.insert(0, -1)
    if not bars or line[bars[-1] + 1 :].strip():
        edges.append(len(line))
    return tuple(
        TextCell(text=line[left + 1 : right].strip(), start=offset + left + 1, end=offset + right)
        for left, right in itertools.pairwise(edges)
    )


def put_pieces(document: str, changes: Mapping[tuple[int, int], str]) -> str:
    """Replace pieces of a document, by (start, end); one that ends where it starts is inserted."""
    for (start, end), text in sorted(changes.items(), reverse=True):
        document = document[:start] + text + document[end:]
    return document


def put_texts(document: str, changes: Mapping[tuple[int, int], str]) -> str:
    """Write new texts into cells, by (start, end). The column keeps its width where the text allows."""
    return put_pieces(
        document, {(start, end): _padded(document[start:end], text) for (start, end), text in changes.items()}
    )


def _padded(raw: str, text: str) -> str:
    """The left padding stays; the right one takes up the difference in length, down to one space if it had any."""
    old = raw.strip()
    if old == text:
        return raw
    left = raw[: len(raw) - len(raw.lstrip())] if old else raw[:1]
    right = raw[len(left) + len(old) :]
    spare = len(right) + len(old) - len(text)
    return left + text + " " * max(spare, min(1, len(right)))
