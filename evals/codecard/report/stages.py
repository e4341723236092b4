"""One line on how busy generation and execution were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Row = Mapping[str, object]


def stages_text(rows: Iterable[Row]) -> str:
    """`model at work 98 % of 200 s (31 tokens/s), 2 workers 40 %; 3 s of execution after the last completion`.

    Over all starts of a run; empty where nothing was timed.
    """
    timed = [row for row in rows if _number(row, "wall_s") > 0]
    wall = _total(timed, "wall_s")
    asked = [row for row in timed if row.get("generated")]
    run = [row for row in timed if row.get("execute_s") is not None and _number(row, "workers")]
    parts, ended = [], ""
    if asked:
        working, tokens = _total(asked, "generate_s"), _total(asked, "new_tokens")
        rate = f" ({tokens / working:,.0f} tokens/s)" if tokens and working else ""
        parts.append(f"model at work {working / wall:.0%} of {wall:,.0f} s{rate}")
        ended = f"; {_total(asked, 'tail_s'):,.1f} s of execution after the last completion"
    if run:
        room = sum(_number(row, "wall_s") * _number(row, "workers") for row in run)
        workers = max(_number(row, "workers") for row in run)
        of = "" if asked else f" of {wall:,.0f} s"
        parts.append(f"{workers:.0f} worker{'s' if workers > 1 else ''} {_total(run, 'execute_s') / room:.0%}{of}")
    return ", ".join(parts).replace("%", " %") + ended


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _total(rows: Iterable[Row], name: str) -> float:
    return sum(_number(row, name) for row in rows)
