"""A run as pandas frames, for notebooks; and as Parquet. Needs the extra `codecard[analysis]`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.model import UsageError
from codecard.store.outcomes import read_run

if TYPE_CHECKING:
    import pandas as pd

KEY = ("task", "problem", "sample")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFrames:
    """Three frames of one run, joinable on task, problem, sample.

    `completions`: text, style, finish_reason, prompt_tokens, new_tokens, seconds. `executions`: the journal's
    fields (verdict, passed, cpu_s, ...), the last row of each sample. `scores`: cluster, value (NaN when
    void), void (the reason), one row for every sample that was planned.
    """

    manifest: dict[str, Any]
    completions: pd.DataFrame
    executions: pd.DataFrame
    scores: pd.DataFrame

    def to_parquet(self, folder: Path) -> list[Path]:
        """Write completions.parquet, executions.parquet and scores.parquet; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in ("completions", "executions", "scores"):
            frame: pd.DataFrame = getattr(self, name)
            path = folder / f"{name}.parquet"
            frame.to_parquet(path, index=False)
            written.append(path)
        return written


def load_run(path: str | Path) -> RunFrames:
    """Frames of the run folder `path`. Raises UsageError for a bad folder or without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("load_run needs pandas: pip install 'codecard[analysis]'") from None
    run = read_run(Path(path))
    completions = [
        {**dataclasses.asdict(c), "style": c.style.value, "finish_reason": c.finish_reason.value}
        for c in run.completions.values()
    ]
    scores = pd.DataFrame([dataclasses.asdict(score) for score in run.scores])
    return RunFrames(
        manifest=run.manifest,
        completions=_frame(pd, completions, (*KEY, "text")),
        executions=_frame(pd, list(run.executions.values()), (*KEY, "verdict", "passed")),
        scores=scores.astype({"value": "float64"}),
    )


def _frame(pd: Any, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    frame: pd.DataFrame = pd.DataFrame(plain, columns=None if rows else list(columns))
    return frame.astype({"passed": "boolean"}) if "passed" in frame else frame


def _plain(value: Any) -> Any:
    """Arrow strings hold Unicode only: lone surrogates of broken output become escapes. Nested values: JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value) if isinstance(value, (dict, list)) else value
