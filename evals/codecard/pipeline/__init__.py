"""plan → generate ⇄ execute → score. `open_evaluator` makes the suite's side, `run` and `score_works` do the work."""

from __future__ import annotations

from codecard.pipeline.evaluator import Asking, Evaluator, Work
from codecard.pipeline.run import Outcome, RunPlan, Watcher, run, score_works

__all__ = ["Asking", "Evaluator", "Outcome", "RunPlan", "Watcher", "Work", "run", "score_works"]
