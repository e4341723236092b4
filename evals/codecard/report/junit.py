"""JUnit XML of a run or a comparison: one suite a task, one case a problem.

A void is an error: the machine failed, not the model. A wrong answer is a failure only when asked for, because
a benchmark that no model passes whole would leave every build red.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from codecard.model import Comparison, Decision, Score, UsageError, Void, suite_of
from codecard.runs.reading import Run
from codecard.stats import Compared
from codecard.stats.paired import Pair
from codecard.suites import known_suite
from codecard.text import clip, printable

OUTPUT_HEAD, OUTPUT_TAIL = 1500, 500


def run_junit(run: Run, *, fail_wrong: bool = False) -> str:
    """XML of one run. A problem fails (with `fail_wrong`) when fewer than half of its valid samples passed."""
    problems: dict[str, dict[str, list[Score]]] = {}
    for score in run.samples:
        problems.setdefault(score.task, {}).setdefault(score.problem, []).append(score)
    suites = []
    for task, members in problems.items():
        suite = _suite(task)
        for metric, estimate in run.estimates.get(task, {}).items():
            for name in ("value", "low", "high", "n", "void"):
                suite.add_property(f"{metric} {name}", _number(getattr(estimate, name)))
        suite.add_testcases([_case(run, scores, fail_wrong=fail_wrong) for scores in members.values()])
        suites.append(suite)
    return _xml(suites)


def comparison_junit(compared: Compared, pairs: Iterable[Pair], *, fail_wrong: bool = False) -> str:
    """XML of a comparison: the gate's decision of each suite, then one case a problem.

    The gate fails on a regression and is an error when it cannot tell; inconclusive is skipped. A lost problem
    is a failure only with `fail_wrong`.
    """
    gate = _suite("gate")
    gate.add_testcases([_decision_case(suite, comparison) for suite, comparison in compared.pooled.items()])
    tasks: dict[str, Any] = {}
    lost = {name for comparison in compared.tasks.values() for name in comparison.lost}
    for pair in pairs:
        suite = tasks.setdefault(pair.task, _suite(pair.task))
        suite.add_testcase(_pair_case(pair, f"{pair.task}:{pair.problem}" in lost, fail_wrong=fail_wrong))
    return _xml([gate, *tasks.values()])


def _parts() -> Any:
    try:
        import junitparser  # an extra
    except ImportError:
        raise UsageError("JUnit output needs junitparser: pip install 'codecard[report]'") from None
    return junitparser


def _suite(task: str) -> Any:
    return _parts().TestSuite(printable(task))


def _new_case(name: str, task: str, seconds: float = 0.0) -> Any:
    return _parts().TestCase(printable(name), printable(task).replace("/", "."), round(seconds, 3))


def _case(run: Run, scores: list[Score], *, fail_wrong: bool) -> Any:
    parts = _parts()
    first = scores[0]
    found = [run.outcomes.get((s.task, s.problem, s.sample)) for s in scores]
    walls = [outcome.facts.get("wall_s") for outcome in found if outcome is not None]
    case = _new_case(first.problem, first.task, sum(w for w in walls if isinstance(w, (int, float))))
    values = [score.value for score in scores if score.value is not None]
    voids = sorted({str(Void(who=score.who, why=score.void)) for score in scores if score.value is None})
    if voids:
        message = f"{len(scores) - len(values)} of {len(scores)} samples void: {'; '.join(voids)}"
        case.result = [parts.Error(printable(message), "void")]
    if known_suite(suite_of(first.task)).scale is not None:
        case.system_out = f"ratings: {', '.join(map(str, values))}"
        return case
    verdicts = [outcome.verdict if outcome is not None else "no execution" for outcome in found]
    passed = sum(value == 1 for value in values)
    text = f"{passed} of {len(values)} samples passed"
    wrong = next((i for i, score in enumerate(scores) if score.value == 0), None)
    if wrong is not None:
        text = f"{text}; sample {scores[wrong].sample}: {verdicts[wrong].replace('_', ' ')}"
        outcome = found[wrong]
        said = outcome.facts.get("stderr") if outcome is not None else ""
        case.system_err = printable(clip(str(said or ""), OUTPUT_HEAD, OUTPUT_TAIL))
        if fail_wrong and not voids and 2 * passed < len(values):
            case.result = [parts.Failure(text, verdicts[wrong])]
    case.system_out = text
    return case


def _decision_case(suite: str, comparison: Comparison) -> Any:
    parts = _parts()
    case = _new_case(f"{suite} pooled", "codecard.gate")
    text = (
        f"{comparison.decision}: delta {_number(comparison.delta)} "
        f"[{_number(comparison.low)}, {_number(comparison.high)}], p {_number(comparison.p)}, "
        f"{comparison.n} pairs, {comparison.void} void"
    )
    case.system_out = text
    kinds: Mapping[str, Any] = {
        Decision.REGRESSION: parts.Failure(text, "regression"),
        Decision.CANNOT_TELL: parts.Error(text, "cannot tell"),
        Decision.INCONCLUSIVE: parts.Skipped(text),
    }
    if comparison.decision in kinds:
        case.result = [kinds[comparison.decision]]
    return case


def _pair_case(pair: Pair, lost: bool, *, fail_wrong: bool) -> Any:
    parts = _parts()
    case = _new_case(pair.problem, pair.task)
    text = f"base {_number(pair.base)}, new {_number(pair.new)}"
    case.system_out = text
    if pair.difference is None:
        case.result = [parts.Error(f"void in one run: {text}", "void")]
    elif lost and fail_wrong:
        case.result = [parts.Failure(f"lost: {text}", "lost")]
    return case


def _number(value: float | None) -> str:
    return "void" if value is None else f"{value:.6g}"


def _xml(suites: Iterable[Any]) -> str:
    document = _parts().JUnitXml("codecard")
    for suite in suites:
        document.add_testsuite(suite)
    document.update_statistics()
    # Jenkins' schema (junit-10.xsd) knows `skipped` of a suite, not of the whole.
    document._elem.attrib.pop("skipped", None)
    buffer = io.BytesIO()
    document.write(buffer, pretty=True)
    return buffer.getvalue().decode("utf-8")
