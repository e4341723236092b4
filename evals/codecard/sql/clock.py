"""The frozen date: what golds and predictions take for now.

Two ways. `faketime`: the server runs under libfaketime with a clock that starts at noon of the date and goes on
(a clock that stands still would keep statement_timeout from ever firing). `rewrite`: for a server that is not
ours, or where libfaketime is not to be had, the schema `frozen` precedes pg_catalog in the search path and
answers now() and its kin, and the words of the grammar (CURRENT_DATE, LOCALTIME, …) are rewritten to call it.
What the second way cannot reach: the literals 'now', 'today', 'yesterday', 'tomorrow', and pg_catalog.now().
"""

from __future__ import annotations

import glob
import importlib.util
import sys
from datetime import date
from pathlib import Path

from codecard.answers.sql import tokens

SCHEMA = "frozen"

_WORDS = {
    "current_date": "(frozen.now()::date)",
    "current_timestamp": "frozen.now()",
    "localtimestamp": "(frozen.now()::timestamp)",
    "current_time": "(frozen.now()::timetz)",
    "localtime": "(frozen.now()::time)",
}
_WHEEL_LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"
_SYSTEM_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1")


def faketime_library() -> Path | None:
    """libfaketime as the system or the wheel has it; None where it cannot be preloaded (not on Linux)."""
    if sys.platform != "linux":
        return None
    found = [Path(place) for pattern in _SYSTEM_LIBRARIES for place in sorted(glob.glob(pattern))]
    if spec := importlib.util.find_spec("libfaketime"):
        found += [Path(place) / _WHEEL_LIBRARY for place in spec.submodule_search_locations or ()]
    return next((library for library in found if library.is_file()), None)


def faketime_environment(library: Path, day: date) -> dict[str, str]:
    return {"LD_PRELOAD": str(library), "FAKETIME": f"@{day.isoformat()} 12:00:00", "TZ": "UTC"}


def frozen_schema(day: date) -> str:
    """SQL that makes the schema of the second way."""
    noon = f"timestamptz ''{day.isoformat()} 12:00:00+00''"
    names = ("now", "transaction_timestamp", "statement_timestamp", "clock_timestamp")
    functions = [f"FUNCTION frozen.{name}() RETURNS timestamptz AS 'SELECT {noon}'" for name in names]
    functions += [
        f"FUNCTION frozen.age({kind}) RETURNS interval AS 'SELECT pg_catalog.age(frozen.now()::date::{kind}, $1)'"
        for kind in ("timestamp", "timestamptz")
    ]
    made = "\n".join(f"CREATE {function} LANGUAGE sql STABLE;" for function in functions)
    return f"CREATE SCHEMA frozen;\n{made}"


def rewrite(sql: str) -> str:
    """`sql` with the grammar's words for the present turned into calls of the frozen schema.

    Not after a dot (a column of that name) nor before an opening dot; a precision that follows is dropped with
    its brackets, since the frozen moment has no fractions.
    """
    found = list(tokens(sql))
    out: list[str] = []
    at = 0
    while at < len(found):
        kind, text = found[at]
        at += 1
        replacement = _WORDS.get(text.lower()) if kind == "word" else None
        if replacement is None or (out and "".join(out[-2:]).rstrip().endswith(".")):
            out.append(text)
            continue
        out.append(replacement)
        at = _after_precision(found, at)
    return "".join(out)


def _after_precision(found: list[tuple[str, str]], at: int) -> int:
    """The place after `(3)` if that is what follows, else `at`."""
    solid = [(place, text) for place, (_, text) in enumerate(found[at : at + 8], at) if not text.isspace()][:3]
    if [text if text in "()" else text.isdigit() for _, text in solid] == ["(", True, ")"]:
        return solid[2][0] + 1
    return at
