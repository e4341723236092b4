"""The SQL port: a real PostgreSQL, found or started here, that judges queries against gold.

    with open_database(definition("2024-03")) as database:
        report = database.check_golds(problems)
        outcome = database.judge(problem, extract_sql(completion))

Nothing is imported from psycopg before a database is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from codecard.model import InfrastructureError, UsageError
from codecard.sql.definition import SqlDefinition

if TYPE_CHECKING:
    from codecard.sql.database import Database

__all__ = ["DatabaseOptions", "open_database", "parse_day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """`url`: a server that is there already, else one is started; `server`: `system`, `wheel` or a folder.

    `as_of`: the frozen date, the version's own by default. `clock`: `faketime`, `rewrite`, or the better one.
    `robust`: also judge on perturbed copies. `workers`: queries at a time. `timeout_s`: seconds a query may run;
    10 is the `timeout` of sql-eval's `compare_query_results` (563a9c85).
    """

    url: str | None = None
    server: str | None = None
    as_of: date | None = None
    clock: str | None = None
    robust: bool = False
    workers: int = 4
    timeout_s: float = 10.0


@contextlib.contextmanager
def open_database(
    version: SqlDefinition, options: DatabaseOptions | None = None, *, data_dir: Path | None = None
) -> Iterator[Database]:
    """A Database with the version's data, filled where it has to be; closed, and its server stopped, at the end.

    Raises UsageError for an unreachable or too old `url`, InfrastructureError where no server can be had.
    """
    try:
        from codecard.sql.opening import opened
    except ImportError as error:
        raise InfrastructureError(
            f"the SQL suite needs {error.name}: pip install 'codecard[postgres]' (or 'codecard[sql]' with a server)"
        ) from None
    with opened(version, options or DatabaseOptions(), data_dir) as database:
        yield database


def parse_day(text: str) -> date:
    """The date of the option `as_of`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"sql.as_of: {text!r} is not a date (YYYY-MM-DD)") from None
