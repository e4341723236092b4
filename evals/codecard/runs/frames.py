"""A run as pandas frames, for notebooks; and as Parquet. Needs the extra `codecard[analysis]`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.files import Row, make_dir
from codecard.model import UsageError
from codecard.runs.folder import outcome_row

if TYPE_CHECKING:
    import pandas as pd

    from codecard.runs.reading import RunData

KEY = ("task", "problem", "sample")
FRAMES = ("scores", "completions", "executions", "estimates")


def frame_of(run: RunData, what: str) -> pd.DataFrame:
    """One frame, joinable with the others on task, problem, sample.

    `completions`: a row a turn: text, style, finish_reason, prompt_tokens, new_tokens, seconds. `executions`: the
    journal's fields (verdict, passed, cpu_s, ...), the last row of each sample. `scores`: cluster, value (NaN when
    void), void (the reason) and who, a row for every sample that was planned. `estimates`: a row a task and metric.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("frames need pandas: pip install 'codecard[analysis]'") from None
    if what not in FRAMES:
        raise UsageError(f"no frame {what!r}; there are {', '.join(FRAMES)}")
    if what == "scores":
        frame: pd.DataFrame = pd.DataFrame([dataclasses.asdict(score) for score in run.scores])
        return frame.astype({"value": "float64"})
    if what == "estimates":
        rows = [
            {"task": task, "metric": metric, **dataclasses.asdict(found)}
            for task, metrics in run.estimates.items()
            for metric, found in metrics.items()
        ]
        return pd.DataFrame(rows)
    if what == "completions":
        turns = [turn for history in run.completions.values() for turn in history]
        rows = [
            {**dataclasses.asdict(turn), "style": turn.style.value, "finish_reason": turn.finish_reason.value}
            for turn in turns
        ]
        return _frame(pd, rows, (*KEY, "text"))
    return _frame(pd, [outcome_row(outcome) for outcome in run.outcomes.values()], (*KEY, "verdict", "passed"))


def write_parquet(run: RunData, folder: Path) -> list[Path]:
    make_dir(folder)
    written = []
    for name in ("completions", "executions", "scores"):
        path = folder / f"{name}.parquet"
        frame_of(run, name).to_parquet(path, index=False)
        written.append(path)
    return written


def _frame(pd: Any, rows: list[Row], columns: tuple[str, ...]) -> pd.DataFrame:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    frame: pd.DataFrame = pd.DataFrame(plain, columns=None if rows else list(columns))
    return frame.astype({"passed": "boolean"}) if "passed" in frame else frame


def _plain(value: Any) -> Any:
    """Arrow strings hold Unicode only: lone surrogates of broken output become escapes. Nested values: JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value) if isinstance(value, (dict, list)) else value
