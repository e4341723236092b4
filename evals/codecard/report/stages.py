"""One line on how busy generation and execution were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Row = Mapping[str, object]


def stages_text(rows: Iterable[Row]) -> str:
    """`model at work 98 % of 200 s (31 tokens/s), 2 workers 40 %; 3 s of execution after the last completion`.

    Over all starts of a run; empty where nothing was timed.
    """
    timed = [row for row in rows if _seconds(row, "wall_s") > 0]
    wall = sum(_seconds(row, "wall_s") for row in timed)
    if not wall:
        return ""
    asked = [row for row in timed if row.get("generated")]
    parts = []
    if asked:
        working, tokens = (
            sum(_seconds(row, "generate_s") for row in asked),
            sum(_seconds(row, "new_tokens") for row in asked),
        )
        rate = f" ({tokens / working:,.0f} tokens/s)" if tokens and working else ""
        parts.append(f"model at work {working / wall:.0%} of {wall:,.0f} s{rate}")
    run = [row for row in timed if row.get("execute_s") is not None and _seconds(row, "workers")]
    if run:
        room = sum(_seconds(row, "wall_s") * _seconds(row, "workers") for row in run)
        busy = sum(_seconds(row, "execute_s") for row in run)
        workers = max(_seconds(row, "workers") for row in run)
        of = "" if asked else f" of {wall:,.0f} s"
        parts.append(f"{workers:.0f} worker{'s' if workers > 1 else ''} {busy / room:.0%}{of}")
    tail = sum(_seconds(row, "tail_s") for row in asked)
    ended = f"; {tail:,.1f} s of execution after the last completion" if asked else ""
    return ", ".join(parts).replace("%", " %") + ended


def _seconds(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
