"""Judging answers: the port, recorded judgments played back, and a journal that is never paid twice."""

from __future__ import annotations

from codecard.judge.journal import JudgedRow, rate
from codecard.judge.port import Judge, Reply
from codecard.judge.replay import ReplayJudge

__all__ = ["Judge", "JudgedRow", "ReplayJudge", "Reply", "rate"]
