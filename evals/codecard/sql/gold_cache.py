"""Gold results on disk, as JSON that gives back every cell with its type."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from codecard.files import write_text
from codecard.model import UsageError, content_key
from codecard.sql.rows import Rows
from codecard.sql.strict import Gold

_REVISION = 1
"""Raised when what is computed for a gold changes."""


@dataclass(frozen=True, slots=True)
class GoldResult:
    """`rows` as the gold text gives them (the reference's view); `accepted` for the strict comparer.

    `tied`: the gold's LIMIT cuts through rows of equal sort keys, so that several results are right.
    """

    rows: Rows
    accepted: tuple[Gold, ...]
    tied: bool = False


class GoldCache:
    """Results by database and text. `path` None keeps them in memory alone. Safe for several threads."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._results: dict[str, GoldResult] = {}
        self._stored: dict[str, Any] = {}
        self._new = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                content = json.loads(path.read_text("utf-8"))
                self._stored = content["results"] if content["revision"] == _REVISION else {}

    def get(self, database: str, sql: str, compute: Callable[[], GoldResult]) -> GoldResult:
        """The stored result, or that of `compute`, which runs once."""
        key = content_key([database, sql])
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._results:
                if key in self._stored:
                    self._results[key] = _decode_result(self._stored[key])
                else:
                    self._results[key] = compute()
                    self._new = True
            return self._results[key]

    def save(self) -> None:
        """Writes what is new; a cache that cannot be written is no failure."""
        if self._path is None or not self._new:
            return
        results = self._stored | {key: _encode_result(result) for key, result in self._results.items()}
        with contextlib.suppress(UsageError):
            write_text(self._path, json.dumps({"revision": _REVISION, "results": results}))


def _encode_result(result: GoldResult) -> dict[str, Any]:
    accepted = [{"rows": _encode_rows(gold.rows), "groups": gold.groups} for gold in result.accepted]
    return {"rows": _encode_rows(result.rows), "accepted": accepted, "tied": result.tied}


def _decode_result(stored: dict[str, Any]) -> GoldResult:
    accepted = tuple(
        Gold(_decode_rows(gold["rows"]), None if gold["groups"] is None else tuple(gold["groups"]))
        for gold in stored["accepted"]
    )
    return GoldResult(_decode_rows(stored["rows"]), accepted, stored["tied"])


def _encode_rows(rows: Rows) -> dict[str, Any]:
    return {"columns": rows.columns, "rows": [[_encode(cell) for cell in row] for row in rows.rows]}


def _decode_rows(stored: dict[str, Any]) -> Rows:
    return Rows(tuple(stored["columns"]), tuple(tuple(map(_decode, row)) for row in stored["rows"]))


def _encode(cell: object) -> object:  # noqa: PLR0911 - one line per kind
    """None, bool, int and str as they are; all else as [kind, text]."""
    if cell is None or isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, float):
        return ["float", cell.hex()]
    if isinstance(cell, bytes):
        return ["bytes", cell.hex()]
    if isinstance(cell, timedelta):
        return ["timedelta", [cell.days, cell.seconds, cell.microseconds]]
    if isinstance(cell, datetime | date | time):
        return [type(cell).__name__, cell.isoformat()]
    if isinstance(cell, list):
        return ["list", [_encode(item) for item in cell]]
    if isinstance(cell, dict):
        return ["dict", cell]
    return ["Decimal" if isinstance(cell, Decimal) else "str", str(cell)]


_DECODERS: dict[str, Callable[[Any], object]] = {
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "timedelta": lambda parts: timedelta(*parts),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "list": lambda items: [_decode(item) for item in items],
    "dict": lambda value: value,
    "Decimal": Decimal,
    "str": str,
}


def _decode(stored: object) -> object:
    return _DECODERS[stored[0]](stored[1]) if isinstance(stored, list) else stored
