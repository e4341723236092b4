"""The ladder from exact to not reproduced, and a whole card judged from runs."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from codecard.card.assumptions import ASSUMPTIONS, checked_assumptions, refuse_what_cannot_run
from codecard.card.beside import beside_markdown, report_rows
from codecard.card.measurements import Measurement
from codecard.card.numbers import Rounding, parse_number
from codecard.card.reported import ReportedColumn, ReportedRow, ReportedTable, load_reported
from codecard.card.reproduce import Choices, Report, reproduce
from codecard.model import Estimate, UsageError
from codecard.paths import reported_dir
from codecard.runs.measured import read_measurements
from codecard.stats import reproduction as ladder
from codecard.stats.reproduction import Ours, Rung, Settings, Target

KNOWN = load_reported(reported_dir())
TYPICAL = 0.0675 / 161
"""Variance of pass@1 from one sample a problem, at temperature 0.2."""


def target(text: str) -> Target:
    value = float(text)
    return Target(value=value, low=value - 0.005, high=value + 0.005, digits=text)


def ours(value: float, samples: int = 50, variance: float | None = TYPICAL) -> Ours:
    return Ours(value=value, digits=f"{value:.2f}", n=161, samples=samples, variance_at_one=variance)


@pytest.mark.parametrize(
    ("value", "rung"),
    [
        (0.5851, Rung.EXACT),
        (0.5955, Rung.CONSISTENT),
        (0.605, Rung.CONSISTENT),
        (0.6065, Rung.CLOSE),
        (0.575, Rung.CONSISTENT),
        (0.569, Rung.CLOSE),
        (0.5685, Rung.NOT_REPRODUCED),
        (0.62, Rung.NOT_REPRODUCED),
    ],
)
def test_each_distance_from_a_published_pass_rate_has_its_rung(value: float, rung: Rung) -> None:
    """With 50 samples of ours and 20 assumed of theirs: consistent within about 0.016 of the printed 0.59."""
    (outcome,) = ladder.pass_rates([(target("0.59"), ours(value))], Settings()).cells
    assert outcome.se == pytest.approx(0.0054, abs=1e-4)
    assert outcome.rung is rung


def test_a_wide_error_never_passes_as_close() -> None:
    """One sample a problem: 0.03 off is within noise, but never shown to be close."""
    settings = Settings(level=0.5)
    (outcome,) = ladder.pass_rates([(target("0.59"), ours(0.62, samples=1))], settings).cells
    assert outcome.rung is Rung.NOT_REPRODUCED
    (outcome,) = ladder.pass_rates([(target("0.59"), ours(0.62, samples=1))], Settings()).cells
    assert outcome.rung is Rung.CONSISTENT


def test_six_cells_are_judged_together() -> None:
    """A cell that alone would be rejected at 5 % is within noise as one of six (Holm); the omnibus test says p."""
    off = 0.5845 - 2.1 * 0.00543
    alone = ladder.pass_rates([(target("0.59"), ours(off))], Settings()).cells[0]
    assert alone.rung is not Rung.CONSISTENT
    row = ladder.pass_rates([(target("0.59"), ours(off))] + [(target("0.59"), ours(0.59))] * 5, Settings())
    assert row.cells[0].rung is Rung.CONSISTENT
    assert row.chi2 == pytest.approx(2.2**2, abs=0.3)
    assert 0.4 < row.p < 0.7


def test_an_average_is_judged_by_its_own_error() -> None:
    """The average of six has an error of about 0.0023: 0.012 off is not within noise, though it is of a cell's."""
    parts = [ours(0.47)] * 6
    outcome = ladder.average_rate(target("0.47"), ours(0.4835), parts, Settings())
    assert outcome.se == pytest.approx(0.0022, abs=2e-4)
    assert outcome.rung is Rung.CLOSE


@pytest.mark.parametrize(
    ("mine", "rung"), [(19, Rung.EXACT), (20, Rung.CLOSE), (18, Rung.CLOSE), (17, Rung.NOT_REPRODUCED)]
)
def test_sql_is_judged_by_counts(mine: int, rung: Rung) -> None:
    """19 of 35: exact by count, close within one question."""
    assert ladder.counts(19, mine, 35, Settings()).rung is rung


def test_ratings_are_judged_by_the_noise_of_a_second_judging() -> None:
    """Two judgings by one judge differ by 0.14 or so: 0.25 off is within noise, 0.3 is not."""
    published = Target(value=5.8, low=5.8, high=5.8, digits="5.8")
    for value, rung in ((5.8, Rung.EXACT), (6.05, Rung.CONSISTENT), (6.1, Rung.NOT_REPRODUCED)):
        mine = Ours(value=value, digits=str(value), n=10)
        assert ladder.rating(published, mine, 20, Settings()).rung is rung


def test_likelihood_tasks_are_judged_by_a_fixed_tolerance() -> None:
    """Nothing is drawn: 0.3 points is the tolerance, whatever the number of questions."""
    published = Target(value=0.785, low=0.78495, high=0.78505, digits="78.50")
    for value, rung in ((0.78503, Rung.EXACT), (0.788, Rung.CONSISTENT), (0.7885, Rung.NOT_REPRODUCED)):
        mine = Ours(value=value, digits=f"{100 * value:.2f}", n=1838)
        assert ladder.accuracy(published, mine, Settings()).rung is rung


# ---------------------------------------------------------------- whole cards


def value_behind(table: ReportedTable, row: ReportedRow, column: ReportedColumn, text: str) -> float:
    """A value that is shown as `text`: in a column of counts the count, else near the upper end of its interval.

    Near the upper end because the SFT average (0.44 of cells that average to 0.4333) needs it there.
    """
    number = parse_number(text)
    assert number is not None
    if table.ladder == "count" and column.questions:
        counts = range(column.questions + 1)
        step = Decimal("0.1")
        mode = "ROUND_DOWN" if row.rounding is Rounding.TRUNCATE else "ROUND_HALF_EVEN"
        shown = {(Decimal(100 * k) / column.questions).quantize(step, mode): k for k in counts}
        return shown[number.value] / column.questions
    if table.name == "multi_pl" and "SFT" in row.label:
        return float(number.value) + 0.0049
    return float(number.value / table.scale)


def write_run(folder: Path, table: ReportedTable, row: ReportedRow, **changes: Any) -> Path:
    """A run folder with one table row's own cells as its scores."""
    scores = {}
    for column, text in zip(table.columns, row.cells, strict=True):
        if column.average:
            continue
        value = value_behind(table, row, column, text)
        fields = {"value": value, "low": None, "high": None, "n": column.questions, "void": 0, "method": ""}
        scores[column.task] = {column.metric: fields | changes}
    folder.mkdir(parents=True)
    judge = {"name": table.judge, "remark": ""} if table.judge else None
    manifest = {"suites": [table.suite], "model": f"hf:{row.model or row.label}", "samples": 50, "judge": judge}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def judged(document: str, runs: list[Path], **choices: Any) -> Report:
    return reproduce(document, KNOWN, read_measurements(runs), Choices(**choices))


@pytest.fixture
def card(seeds_dir: Path) -> str:
    return (seeds_dir / "stable-code-instruct-3b.model-card.md").read_text()


@pytest.mark.data
def test_published_cells_reproduce_themselves_exactly(card: str, seeds_dir: Path, tmp_path: Path) -> None:
    """Runs made from the published cells reproduce every cell of both documents exactly, averages included."""
    runs = [
        write_run(tmp_path / f"{table.name}-{place}", table, row)
        for table in KNOWN
        for place, row in enumerate(table.rows)
    ]
    rows = {"Stable Code Instruct (SFT) 3B": "Stable Code Instruct (SFT) 3B"}
    report = judged(card, [run for run in runs if "zero" not in run.name], rows=rows, measure_quoted=True)
    assert len(report.cells) == 58
    assert {
        (cell.row, cell.column, cell.outcome.rung) for cell in report.cells if cell.outcome.rung is not Rung.EXACT
    } == set()
    readme = (seeds_dir / "stable-code.readme.md").read_text()
    report = judged(readme, [run for run in runs if "zero" in run.name])
    assert [cell.outcome.rung for cell in report.cells] == [Rung.EXACT] * 121


@pytest.mark.data
def test_a_cell_without_a_run_is_not_attempted(card: str) -> None:
    """Without runs every cell says why nothing was attempted."""
    report = judged(card, [])
    assert len(report.cells) == 58
    assert {cell.outcome.rung for cell in report.cells} == {Rung.NOT_ATTEMPTED}
    assert all(cell.outcome.reason and not cell.measured for cell in report.cells)


@pytest.mark.data
@pytest.mark.parametrize("change", [{"n": 5}, {"void": 1}, {"value": None}])
def test_missing_data_never_confirm_a_cell(card: str, tmp_path: Path, change: dict[str, Any]) -> None:
    """Five problems, a void sample or no value at all: the published value is not confirmed, whatever the mean."""
    table = next(table for table in KNOWN if table.name == "multi_pl")
    run = write_run(tmp_path / "RUN", table, table.rows[-1], **change)
    report = judged(card, [run])
    assert {cell.outcome.rung for cell in report.cells} == {Rung.NOT_ATTEMPTED}


@pytest.mark.data
def test_a_strangers_run_is_judged_honestly_and_named(card: str, tmp_path: Path) -> None:
    """A run of a model that is no row is set beside the card's own row, named, and judged honestly."""
    table = next(table for table in KNOWN if table.name == "multi_pl")
    row = next(row for row in table.rows if row.own)
    run = write_run(tmp_path / "RUN", table, row, value=0.02)
    manifest = {"model": "embedded", "samples": 1}
    (run / "manifest.json").write_text(json.dumps(manifest))
    report = judged(card, [run])
    verdicts = {cell.outcome.rung for cell in report.cells if cell.row == row.label and cell.table == table.heading}
    assert verdicts == {Rung.NOT_REPRODUCED}
    assert len(report.cells) == 58
    assert not any(cell.outcome.rung is Rung.EXACT for cell in report.cells)
    assert "embedded, which is no row of the card" in report.notes[0]


@pytest.mark.data
def test_another_judges_rating_is_not_comparable(card: str, tmp_path: Path) -> None:
    """A rating by another judge, or by nobody knows whom, is not comparable, even where the number is the same."""
    table = next(table for table in KNOWN if table.name == "mt_bench_coding")
    row = next(row for row in table.rows if row.own)
    described = {"suites": [table.suite], "model": f"hf:{row.model}"}
    for number, judge in enumerate(
        ({"name": "other", "remark": ""}, {"name": "gpt-4", "remark": "other references"}, None)
    ):
        run = write_run(tmp_path / f"RUN{number}", table, row)
        (run / "manifest.json").write_text(json.dumps(described | {"judge": judge}))
        (cell,) = (c for c in judged(card, [run]).cells if c.table == table.heading and c.row == row.label)
        assert cell.outcome.rung is Rung.NOT_COMPARABLE
    run = write_run(tmp_path / "RUN", table, row)
    (run / "manifest.json").write_text(json.dumps(described | {"judge": {"name": "gpt-4"}}))
    assert any(cell.outcome.rung is Rung.EXACT for cell in judged(card, [run]).cells)


@pytest.mark.data
def test_a_quoted_row_is_judged_only_on_demand(card: str, tmp_path: Path) -> None:
    """The SQLCoder row was quoted: it is judged only on demand."""
    table = next(table for table in KNOWN if table.name == "sql")
    row = table.rows[-1]
    run = write_run(tmp_path / "RUN", table, row)
    for flag, rung in ((False, Rung.NOT_ATTEMPTED), (True, Rung.EXACT)):
        cells = [cell for cell in judged(card, [run], measure_quoted=flag).cells if cell.row == row.label]
        assert {cell.outcome.rung for cell in cells} == {rung}


@pytest.mark.data
def test_every_verdict_reaches_the_page_and_the_json(card: str, tmp_path: Path) -> None:
    """Markdown and JSON hold every cell, its verdict and its reason."""
    table = next(table for table in KNOWN if table.name == "multi_pl")
    report = judged(card, [write_run(tmp_path / "RUN", table, table.rows[-1])])
    rows = report_rows(report)
    assert len(rows) == 58
    assert {row["verdict"] for row in rows} == {"exact", "not attempted"}
    assert json.loads(json.dumps(rows)) == rows
    page = beside_markdown(report, {table.heading: ["samples a problem: 50 (--n-samples)"]})
    assert page.count("| exact |") == 7
    assert page.count("not attempted: ") == 51
    assert "- samples a problem: 50 (--n-samples)" in page


def test_a_runs_own_variance_decides_its_error() -> None:
    """A run's own variance within problems decides its error; without one the assumed spread does."""
    estimate = Estimate(value=0.6, low=None, high=None, n=161)
    few = Measurement(model="m", name="r", task="multipl_e/py", metric="pass@1", estimate=estimate)
    assert few.variance_at_one is None
    known = ladder.pass_rates([(target("0.59"), ours(0.6, variance=0.0))], Settings()).cells[0]
    assumed = ladder.pass_rates([(target("0.59"), ours(0.6, variance=None))], Settings()).cells[0]
    assert known.se == 0
    assert assumed.se == pytest.approx(math.sqrt(0.0675 / 161 * (1 / 50 + 1 / 20)))


def test_an_assumption_takes_only_known_values() -> None:
    """A choice that is not known is refused; one that is known but not run here says what to do."""
    with pytest.raises(UsageError, match="--py-task is one of"):
        checked_assumptions({"py_task": "mbpp"})
    values = checked_assumptions({"py_task": "humaneval"})
    with pytest.raises(UsageError, match="make that run elsewhere"):
        refuse_what_cannot_run("multipl_e", values)
    assert len(ASSUMPTIONS) == len({assumption.name for assumption in ASSUMPTIONS})
