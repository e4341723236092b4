"""Cells, published numbers and rendering: what a card says must come back byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from cards import put_cells
from codecard.card.frontmatter import index_entries
from codecard.card.grid import read_grid
from codecard.card.markdown import find_tables, tokens
from codecard.card.measurements import Measurement, estimates_of
from codecard.card.numbers import Rounding, counts_shown, format_value, parse_number
from codecard.card.render import render
from codecard.card.reported import ReportedTable, find_definition, load_reported, parse_reported
from codecard.model import Estimate, UsageError
from codecard.paths import reported_dir, tasks_dir
from codecard.suites.zero_shot.tasks import ZeroShotTask, load_tasks, read_raw

KNOWN = load_reported(reported_dir())
TEN = load_tasks(tasks_dir() / "zero_shot")
DOCUMENTS = ("stable-code-instruct-3b.model-card.md", "stable-code.readme.md")


def named(name: str) -> ReportedTable:
    return next(table for table in KNOWN if table.name == name)


def published_texts(document: str) -> dict[tuple[int, int], str]:
    """(line, cell index) -> text, for every number of a document's known tables, from the published cells."""
    texts = {}
    for table in find_tables(document):
        definition = find_definition(KNOWN, table)
        if definition is None:
            continue
        grid = read_grid(table)
        names = [tokens(column) for column in table.columns]
        for row in table.rows:
            published = definition.row(grid.label(row))
            assert published is not None, grid.label(row)
            for column, text in zip(definition.columns, published.cells, strict=True):
                texts[row.line, names.index(tokens(column.name))] = text
    return texts


def raw_measurements(folder: Path) -> list[Measurement]:
    found = []
    for file in sorted(folder.glob("*.json")):
        run = read_raw(json.loads(file.read_text()), TEN, file.name)
        found += [
            Measurement(model=run.model, name=file.stem, task=task, metric="", estimate=estimate)
            for task, estimate in run.estimates.items()
        ]
    return found


def test_no_published_number_is_lost() -> None:
    """Both documents hold 179 numbers: 28, 6, 18, 6 and 121."""
    counts = {table.name: len(list(table.cells())) for table in KNOWN}
    assert counts == {"multi_pl": 28, "mt_bench_coding": 6, "sql": 18, "model_index": 6, "zero_shot": 121}
    for table in KNOWN:
        assert all(row.quoted_from or table.source for row, _, _ in table.cells())


@pytest.mark.data
@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_cells_equal_those_of_the_documents(seeds_dir: Path, name: str) -> None:
    """Blank every number of a document, put the published cells in: the bytes of the document come back."""
    document = (seeds_dir / name).read_text()
    texts = published_texts(document)
    assert len(texts) == {DOCUMENTS[0]: 52, DOCUMENTS[1]: 121}[name]
    blank = put_cells(document, {place: "?" * len(text) for place, text in texts.items()})
    assert blank.count("?" * 4) >= len(texts) // 2
    assert put_cells(blank, texts) == document
    assert render(document, KNOWN).document == document


@pytest.mark.data
def test_the_published_model_index_equals_the_cards(seeds_dir: Path) -> None:
    """The six values of the front matter are the six published ones, in order."""
    document = (seeds_dir / DOCUMENTS[0]).read_text()
    table = named("model_index")
    shown = [(entry.title, entry.value) for entry in index_entries(document)]
    assert shown == [(column.name, text) for _, column, text in table.cells()]


@pytest.mark.data
def test_the_zero_shot_table_follows_from_the_raw_outputs_alone(seeds_dir: Path, data_dir: Path) -> None:
    """With every number blanked, the raw outputs alone give all 121 numbers of the table."""
    document = (seeds_dir / DOCUMENTS[1]).read_text()
    texts = published_texts(document)
    blank = put_cells(document, {place: "?" * len(text) for place, text in texts.items()})
    rendered = render(blank, KNOWN, raw_measurements(data_dir / "zero_shot"))
    assert len(rendered.changes) == 121
    assert rendered.document == document


@pytest.mark.data
def test_a_changed_raw_output_moves_its_cell_and_average_alone(seeds_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    """One more right answer in one raw file changes its cell and its row's average, and no other byte."""
    document = (seeds_dir / DOCUMENTS[1]).read_text()
    for file in (data_dir / "zero_shot").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    changed = tmp_path / "MPT-7B.json"
    raw = json.loads(changed.read_text())
    raw["results"]["boolq"]["acc"] = 2500 / 3270
    changed.write_text(json.dumps(raw))
    rendered = render(document, KNOWN, raw_measurements(tmp_path))
    moved = [(change.row, change.column, change.new) for change in rendered.changes if change.old != change.new]
    assert moved == [("MPT-7B", "BoolQ", "76.45"), ("MPT-7B", "Average", "59.01")]
    lines = zip(document.splitlines(), rendered.document.splitlines(), strict=True)
    assert sum(old != new for old, new in lines) == 1


TABLE = """# Card

| Model | Size | Avg | Python | C++  | JavaScript | Java | PHP | Rust |
|:------|-----:|-----|--------|------|------------|------|-----|------|
| Mine  | 3B   | 0.30 | **0.33**(ours) | 0.31 | 0.31 | 0.29 | 0.31 | 0.25 |
| Other | 7B   | 0.44 | 0.32   | 0.52 | 0.41       | 0.46 | 0.45 | 0.28 |
"""


def measured(**values: float) -> list[Measurement]:
    counts = {"py": 161, "cpp": 161, "js": 161, "java": 158, "php": 161, "rs": 156}
    return [
        Measurement(
            model="hf:me/mine",
            name="RUN",
            task=f"multipl_e/{language}",
            metric="pass@1",
            estimate=Estimate(value=value, low=None, high=None, n=counts[language]),
        )
        for language, value in values.items()
    ]


def test_render_touches_only_what_was_measured() -> None:
    """A measured cell keeps its dress and the column's width; the average stays while a column is missing."""
    rendered = render(TABLE, KNOWN, measured(py=0.4049, rs=0.5), {"Mine 3B": "me/mine"})
    assert "| **0.40**(ours) |" in rendered.document
    assert rendered.document.replace("0.40", "0.33").replace("0.50 |", "0.25 |") == TABLE
    assert rendered.notes == ("Mine 3B: Avg kept, for not all of its 6 columns were measured",)


def test_the_average_is_taken_from_unrounded_values() -> None:
    """The average is taken from unrounded values: 0.0049 more in each column is 0.0049 more in the mean."""
    values = dict.fromkeys(("py", "cpp", "js", "java", "php"), 0.3049) | {"rs": 0.3055}
    rendered = render(TABLE, KNOWN, measured(**values), {"Mine 3B": "me/mine"})
    average = next(change for change in rendered.changes if change.column == "Avg")
    assert average.new == "0.30"
    values["rs"] = 0.3065
    rendered = render(TABLE, KNOWN, measured(**values), {"Mine 3B": "me/mine"})
    assert next(change.new for change in rendered.changes if change.column == "Avg") == "0.31"


def test_a_partial_or_void_measurement_fills_no_cell() -> None:
    """A run of part of the problems, or with voids, does not stand for the cell and says so."""
    few = measured(py=0.9)[0]
    part = replace(few, estimate=Estimate(value=0.9, low=None, high=None, n=5))
    void = replace(few, estimate=Estimate(value=0.9, low=None, high=None, n=161, void=2))
    for measurement, why in ((part, "measured on 5 questions"), (void, "2 of its samples are void")):
        rendered = render(TABLE, KNOWN, [measurement], {"Mine 3B": "me/mine"})
        assert rendered.document == TABLE
        assert why in rendered.notes[0]


def test_a_run_that_fits_no_row_is_refused() -> None:
    """A run of a model that is in no row is bad input, with the option that mends it."""
    with pytest.raises(UsageError, match=r"no row of the card is for hf:me/mine; say --row"):
        render(TABLE.replace("Mine", "Yours"), KNOWN, measured(py=0.4))


def test_rebold_marks_the_best_of_each_measured_column() -> None:
    """--rebold marks the best of each measured column and leaves the other columns alone."""
    rendered = render(TABLE, KNOWN, measured(py=0.1, cpp=0.9), {"Mine 3B": "me/mine"}, rebold=True)
    rows = find_tables(rendered.document)[0].rows
    assert [cell.text for cell in rows[0].cells][3:5] == ["0.10(ours)", "**0.90**"]
    assert [cell.text for cell in rows[1].cells][3:6] == ["**0.32**", "0.52", "0.41"]


@pytest.mark.parametrize(
    ("text", "digits"),
    [("**5.8**(ours)", "5.8"), ("54.2%", "54.2"), ("**54.2%**", "54.2"), ("-1.0", "-1.0"), ("0.5 (n=3)", "0.5")],
)
def test_a_number_is_found_and_replaced_in_its_dress(text: str, digits: str) -> None:
    """Bold, percent signs and remarks in parentheses are dress; the digits inside are found and replaced."""
    number = parse_number(text)
    assert number is not None
    assert number.digits == digits
    assert number.dressed("9.9") == text.replace(digits, "9.9")


@pytest.mark.parametrize("text", ["7B", "1.1T", "2,796,431,360", "", "-", "v2", "3B (DPO)", "**", "2024-03-25", "1/2"])
def test_a_label_is_no_number(text: str) -> None:
    """Sizes, counts with commas, dates and empty cells are labels."""
    assert parse_number(text) is None


def test_each_rounding_rule_shows_its_own_digits() -> None:
    """19/35 shows as 54.3 rounded, 54.2 cut off; exact ratings drop their last zero."""
    share = Decimal(1900) / 35
    assert format_value(share, 1, Rounding.NEAREST) == "54.3"
    assert format_value(share, 1, Rounding.TRUNCATE) == "54.2"
    assert format_value(Decimal("5.80"), 1, Rounding.EXACT) == "5.8"
    assert format_value(Decimal("3.55"), 1, Rounding.EXACT) == "3.55"
    assert counts_shown(Decimal("54.2"), 1, 35) == (None, 19)
    assert counts_shown(Decimal("24.0"), 1, 35) == (None, None)
    assert counts_shown(Decimal("24.0"), 1, 25) == (6, 6)


def test_tables_in_code_are_text() -> None:
    """A table inside a fence or the front matter is text; one after it keeps its line number."""
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    text = f"---\nx: |\n  | a | b |\n  |---|---|\n---\n```\n{table}```\n\n{table}"
    tables = find_tables(text)
    assert [table.header.line for table in tables] == [12]


def test_rendering_keeps_line_ends() -> None:
    """A document with Windows line ends keeps them."""
    document = TABLE.replace("\n", "\r\n")
    rendered = render(document, KNOWN, measured(py=0.4), {"Mine 3B": "me/mine"})
    assert rendered.document == document.replace("0.33", "0.40")


@pytest.mark.parametrize("broken", ["x", "{", '[table]\nname = "x"', 'scores = "x"'])
def test_a_broken_table_of_published_numbers_is_refused_by_file(broken: str) -> None:
    """A file of published numbers that is none says which file."""
    with pytest.raises(UsageError, match=r"where\.toml: not a table of published numbers"):
        parse_reported(broken, "where.toml")


@pytest.mark.parametrize("scores", [{"a": 1}, {"a": {"b": {}}}, {"a": {"b": {"value": 1, "n": "x"}}}])
def test_broken_scores_are_refused_by_file(scores: dict[str, object]) -> None:
    """Scores of another shape are bad input, not missing numbers."""
    with pytest.raises(UsageError, match=r"RUN/scores\.json: not the scores of a run"):
        estimates_of(scores, "RUN/scores.json")


NEW_FORMAT = {
    "results": {
        "truthfulqa_mc2": {"alias": "truthfulqa_mc2", "acc,none": 0.4, "acc_stderr,none": 0.01},
        "social_iqa": {"acc,none": 0.9},
        "siqa_stability": {"acc,none": 0.5, "acc_stderr,none": "N/A"},
    },
    "n-shot": {"siqa_stability": 0},
    "n-samples": {"siqa_stability": {"original": 1954, "effective": 50}},
    "config": {"model": "hf", "model_args": {"pretrained": "me/mine"}, "limit": 50},
}


def test_raw_outputs_of_the_new_format_are_read_by_their_own_names() -> None:
    """lm-eval 0.4 calls mc2 acc and keys metrics by filter; the stock SIQA prompt is not ours."""
    run = read_raw(NEW_FORMAT, TEN, "new.json")
    assert run.model == "me/mine"
    assert {task: estimate.value for task, estimate in run.estimates.items()} == {
        "zero_shot/siqa": 0.5,
        "zero_shot/truthfulqa": 0.4,
    }
    assert [run.estimates[f"zero_shot/{name}"].n for name in ("siqa", "truthfulqa")] == [50, 50]
    assert run.estimates["zero_shot/siqa"].low is None


def test_few_shot_outputs_are_refused() -> None:
    """An output asked with examples is refused, whatever the format."""
    with pytest.raises(UsageError, match="asked with 5 examples"):
        read_raw({**NEW_FORMAT, "n-shot": {"siqa_stability": 5}}, TEN, "new.json")


@pytest.mark.parametrize("value", [1.2, -0.1, "0.5", True, None])
def test_a_value_that_is_no_fraction_is_refused(value: object) -> None:
    """A percentage or a text where a fraction belongs is refused."""
    raw = {"results": {"piqa": {"acc": value}}, "config": {"num_fewshot": 0}}
    with pytest.raises(UsageError, match="is not a fraction"):
        read_raw(raw, TEN, "old.json")


def test_an_output_without_any_column_is_refused() -> None:
    """An lm-eval output of other tasks is bad input, not an empty row."""
    with pytest.raises(UsageError, match="holds none of the columns"):
        read_raw({"results": {"mmlu": {"acc": 0.5}}, "config": {}}, TEN, "old.json")


def test_task_counts_equal_the_published_ones() -> None:
    """The ten tasks and the published columns agree on the number of questions."""
    by_key: dict[str, ZeroShotTask] = {task.key: task for task in TEN}
    parts = named("zero_shot").parts
    assert [(c.task, c.questions) for c in parts] == [(t.key, t.count) for t in by_key.values()]


def test_a_page_of_blanks_does_not_hang_the_reader() -> None:
    """Cells and labels of a hostile card are read in time that grows with their length."""
    assert parse_number("1" + " " * 100_000 + "x") is None
    hostile = "| " + "[" * 50_000 + " | b |\n|---|---|\n| " + "(" * 50_000 + " | 1" + " " * 50_000 + "x |\n"
    assert len(find_tables(hostile)) == 1
    assert read_grid(find_tables(hostile)[0]).columns == ()


def test_only_the_row_that_was_published_cut_off_is_cut_off() -> None:
    """Only the row that was published cut off is written so; any other row is rounded."""
    table = named("sql")
    names = [column.name for column in table.columns]
    document = f"| Model | Size | {' | '.join(names)} |\n{'|---' * 8}|\n| New | 1B |{' 1.0% |' * 6}\n"
    estimate = Estimate(value=19 / 35, low=None, high=None, n=35)
    run = Measurement(model="hf:me/new-1b", name="RUN", task="sql/join", metric="pass@1", estimate=estimate)
    assert "54.3%" in render(document, KNOWN, [run]).document
    assert (
        "54.2%"
        in render(
            document.replace("New | 1B", "Stable Code Instruct (DPO) | 3B"),
            KNOWN,
            [replace(run, model="hf:stabilityai/stable-code-instruct-3b")],
        ).document
    )
