"""A cluster that does not take a client at the first knock."""

from __future__ import annotations

from typing import Any

import pytest

from codecard.cluster import nodes
from codecard.model import InfrastructureError

ray = pytest.importorskip("ray", reason="no ray: pip install 'codecard[ray]'")


class Head:
    """Refuses `busy` clients, as a head whose machine is busy does."""

    def __init__(self, busy: int, error: Exception) -> None:
        self.busy, self.error, self.asked = busy, error, 0

    def init(self, address: str, **options: Any) -> None:
        self.asked += 1
        if self.asked <= self.busy:
            raise self.error


@pytest.mark.parametrize(
    ("busy", "error", "asked", "answers"),
    [
        (2, ConnectionAbortedError("Initialization failure from server"), 3, True),
        (9, ConnectionAbortedError("Initialization failure from server"), 3, False),
        (1, ConnectionError("refused"), 1, False),
    ],
)
def test_a_busy_head_is_asked_again_and_an_absent_one_is_not(
    monkeypatch: pytest.MonkeyPatch, busy: int, error: Exception, asked: int, answers: bool
) -> None:
    """It is asked again; a head that is not there is not."""
    head = Head(busy, error)
    monkeypatch.setattr(ray, "init", head.init)
    monkeypatch.setattr(nodes, "_knock", lambda address: None)
    if answers:
        assert nodes._connect("ray://head:10001") is ray
    else:
        with pytest.raises(InfrastructureError, match="no Ray cluster answers"):
            nodes._connect("ray://head:10001")
    assert head.asked == asked
