"""Byte-wise stopping equals searching the whole text, however the text is torn into tokens."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from codecard.answers.cutting import truncate
from codecard.generate.stops import Tail

TEXT = st.text(alphabet="ab\n}é🙂", max_size=40)
STOPS = st.lists(st.text(alphabet="ab\n}é🙂", min_size=1, max_size=4), max_size=3).map(tuple)


@given(text=TEXT, stops=STOPS, cuts=st.lists(st.integers(0, 160), max_size=30))
def test_tearing_never_changes_the_stop(text: str, stops: tuple[str, ...], cuts: list[int]) -> None:
    """The row stops if and only if a stop string is in the text, and what is kept of it is the same."""
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    tail = Tail(stops)
    stopped = False
    for start, end in itertools.pairwise(places):
        if stopped := tail.feed(data[start:end]):
            break
    assert stopped == any(stop in text for stop in stops)
    assert truncate(tail.text, stops) == truncate(text, stops)
    assert stopped or tail.text == text


@given(text=TEXT, stops=STOPS)
def test_truncate_keeps_no_stop(text: str, stops: tuple[str, ...]) -> None:
    """What is kept begins the text, holds no stop string, and is cut only where one stands."""
    kept = truncate(text, stops)
    assert text.startswith(kept)
    assert not any(stop in kept for stop in stops)
    assert kept == text or any(text.startswith(stop, len(kept)) for stop in stops)
