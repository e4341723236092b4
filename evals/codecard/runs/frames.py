"""A run as pandas frames, for notebooks; and as Parquet. Needs the extra `codecard[analysis]`.

Every frame joins with the others on task, problem, sample.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.files import Row, make_dir
from codecard.model import Completion, Outcome, Score, UsageError
from codecard.runs.folder import outcome_row

if TYPE_CHECKING:
    import pandas as pd

KEY = ("task", "problem", "sample")


def completions(histories: Iterable[Iterable[Completion]]) -> pd.DataFrame:
    rows = [
        {**dataclasses.asdict(turn), "style": turn.style.value, "finish_reason": turn.finish_reason.value}
        for history in histories
        for turn in history
    ]
    return _frame(rows, (*KEY, "text"))


def executions(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    return _frame([outcome_row(outcome) for outcome in outcomes], (*KEY, "verdict", "passed"))


def scores(samples: Iterable[Score]) -> pd.DataFrame:
    return _frame([dataclasses.asdict(score) for score in samples], (*KEY, "value"))


def write_parquet(frames: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    make_dir(folder)
    paths = {name: folder / f"{name}.parquet" for name in frames}
    for name, frame in frames.items():
        frame.to_parquet(paths[name], index=False)
    return list(paths.values())


def _frame(rows: list[Row], columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("frames need pandas: pip install 'codecard[analysis]'") from None
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    frame: pd.DataFrame = pd.DataFrame(plain, columns=None if rows else list(columns))
    kinds = {"passed": "boolean", "value": "float64"}  # a column of voids alone would have another type
    return frame.astype({name: kind for name, kind in kinds.items() if name in frame})


def _plain(value: Any) -> Any:
    """Arrow strings hold Unicode only: lone surrogates of broken output become escapes. Nested values: JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value) if isinstance(value, (dict, list)) else value
