"""Where a completion ends: at the earliest stop string."""

from __future__ import annotations

from collections.abc import Iterable


def truncate(text: str, stops: Iterable[str]) -> str:
    """`text` up to the earliest occurrence of any of `stops`; the stop string itself is removed.

    Every backend's text goes through here, whether or not its server has already removed the stop string.
    The rule is `_stop_at_stop_token` of bigcode-evaluation-harness, `bigcode_eval/tasks/multiple.py` at
    974c7ed1. An empty stop string would cut everything and is ignored.
    """
    found = (text.find(stop) for stop in stops if stop)
    return text[: min((at for at in found if at >= 0), default=len(text))]
