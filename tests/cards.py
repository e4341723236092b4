"""Cells of a card written by their places, without measurements."""

from __future__ import annotations

from collections.abc import Mapping

from codecard.card.markdown import find_tables, put_texts


def put_cells(document: str, texts: Mapping[tuple[int, int], str]) -> str:
    """Put cell texts into a document's tables by (line, cell index); the layout stays."""
    places = {
        (row.line, index): (cell.start, cell.end)
        for table in find_tables(document)
        for row in table.rows
        for index, cell in enumerate(row.cells)
    }
    return put_texts(document, {places[key]: text for key, text in texts.items()})
