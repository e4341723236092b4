"""A query's result as the comparers see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rows:
    """`columns` are the names as the server gives them (they may repeat); `rows` have as many cells each.

    Cells are Python values as psycopg 3 loads them: None, bool, int, float, Decimal, str, bytes, date,
    datetime, time, timedelta, list, dict and a few more.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    @property
    def only_nulls(self) -> bool:
        """True where no cell holds a value: such a gold accepts any query that finds nothing."""
        return all(cell is None for row in self.rows for cell in row)
