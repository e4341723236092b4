"""The line that tells how busy generation and execution were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from codecard.model import Completion, FinishReason, InfrastructureError, PromptStyle
from codecard.report.stages import stages_text
from codecard.runs import busy
from codecard.runs.busy import StageClock
from codecard.sandbox import Executor
from codecard.sandbox.doctor import LIMITS, examine

from .test_executor import Fake


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Suite:
    name = "starter"


class Session:
    suite, workers, busy_s = Suite, 2, 100.0


def completion(sample: int) -> Completion:
    return Completion(
        task="starter/py", problem="p", sample=sample, text="", style=PromptStyle.RAW,
        finish_reason=FinishReason.EOS, prompt_tokens=1, new_tokens=50,
    )  # fmt: skip


def test_the_model_is_not_busy_while_it_waits_for_the_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion takes 3 s to make, its consumer 2 s to take it; 4 s more go by after the last one."""
    clock, suite = Clock(), Session()
    monkeypatch.setattr(busy, "time", clock)

    def model() -> Iterator[Completion]:
        for sample in range(2):
            clock.now += 3
            yield completion(sample)

    timer = StageClock(suite)  # type: ignore[arg-type]  # a stand-in
    for _ in timer.generated(model()):
        clock.now += 2
        timer.executed()
    clock.now += 4
    suite.busy_s += 7
    row = timer.row()
    assert row == {
        "suite": "starter", "wall_s": 14, "generate_s": 6, "generated": 2, "new_tokens": 100, "execute_s": 7,
        "executed": 2, "workers": 2, "tail_s": 4,
    }  # fmt: skip
    assert stages_text([row]) == (
        "model at work 43 % of 14 s (17 tokens/s), 2 workers 25 %; 4.0 s of execution after the last completion"
    )


@pytest.mark.parametrize("row", [{}, {"wall_s": 0}, {"wall_s": "<b>"}, {"generated": 3, "generate_s": 1}])
def test_a_row_without_times_has_no_line(row: dict[str, object]) -> None:
    assert stages_text([row]) == ""


def test_a_sandbox_that_passes_everything_is_refused() -> None:
    """Every program passes in this one, the one with a wrong answer too."""
    with (
        Executor(Fake(), workers=1, plain=True) as pool,
        pytest.raises(InfrastructureError, match=r"py wrong: expected wrong, saw passed.*codecard doctor"),
    ):
        examine(pool, {"py": LIMITS})
