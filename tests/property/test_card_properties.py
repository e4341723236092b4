"""Random cards: what is written comes back, and one planted fault is found alone."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from hypothesis import assume, given
from hypothesis import strategies as st

from cards import put_cells
from codecard.card.audit import audit
from codecard.card.markdown import find_tables
from codecard.card.numbers import Rounding, bounds, format_value, parse_number

CENT = Decimal("0.01")
QUESTIONS = 40
"""1/40 = 2.5%: one decimal shows every count without rounding, so a plant is needed to break one."""


@st.composite
def grids(draw: st.DrawFn) -> list[list[Decimal]]:
    rows, columns = draw(st.integers(3, 6)), draw(st.integers(2, 5))
    cell = st.integers(0, 99).map(lambda cents: Decimal(cents) * CENT)
    return draw(st.lists(st.lists(cell, min_size=columns, max_size=columns), min_size=rows, max_size=rows))


def write(values: list[list[Decimal]], bold: bool = True, average: bool = True) -> list[list[str]]:
    """A clean table: right averages, every best in bold."""
    rows = [
        [*row, (sum(row, Decimal()) / len(row)).quantize(CENT, ROUND_HALF_EVEN)] if average else row for row in values
    ]
    best = [max(row[i] for row in rows) for i in range(len(rows[0]))]
    return [[f"**{v}**" if bold and v == best[i] else str(v) for i, v in enumerate(row)] for row in rows]


def markdown(cells: list[list[str]], average: bool = True) -> str:
    names = [f"Task {'ABCDEFGH'[i]}" for i in range(len(cells[0]) - average)] + ["Avg"] * average
    lines = ["# Results", "", "| Model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| Model {'KLMNOPQ'[i]} | " + " | ".join(row) + " |" for i, row in enumerate(cells)]
    return "\n".join(lines) + "\n"


def found(document: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.kind) for finding in audit(document)]


def one_row_is_all_bold(cells: list[list[str]]) -> bool:
    bold = [[text.startswith("**") for text in row] for row in cells]
    return sum(any(row) for row in bold) == 1


@given(grids())
def test_a_clean_table_is_never_accused(values: list[list[Decimal]]) -> None:
    assert found(markdown(write(values))) == []


@given(grids(), st.data())
def test_a_wrong_average_is_found_alone(values: list[list[Decimal]], data: st.DataObject) -> None:
    cells = write(values, bold=False)
    row = data.draw(st.integers(0, len(cells) - 1))
    wrong = Decimal(cells[row][-1]) + data.draw(st.sampled_from([-3, -2, 2, 3, 7])) * CENT
    assume(0 <= wrong <= 1)
    cells[row][-1] = str(wrong)
    assert found(markdown(cells)) == [(5 + row, "average")]


@given(grids(), st.data())
def test_a_cell_with_other_decimals_is_found_alone(values: list[list[Decimal]], data: st.DataObject) -> None:
    cells = write(values, bold=False, average=False)
    row = data.draw(st.integers(0, len(cells) - 1))
    column = data.draw(st.integers(0, len(cells[0]) - 1))
    cells[row][column] += "5"
    assert found(markdown(cells, average=False)) == [(5 + row, "rounding")]


@given(grids(), st.data())
def test_a_bold_mark_on_a_lesser_value_is_found_alone(values: list[list[Decimal]], data: st.DataObject) -> None:
    cells = write(values)
    places = [(r, c) for r, row in enumerate(cells) for c, text in enumerate(row) if not text.startswith("**")]
    assume(places)
    row, column = data.draw(st.sampled_from(places))
    cells[row][column] = f"**{cells[row][column]}**"
    assert found(markdown(cells)) == [(5 + row, "bold")]


@given(grids(), st.data())
def test_a_best_value_without_its_mark_is_found_alone(values: list[list[Decimal]], data: st.DataObject) -> None:
    cells = write(values)
    column = data.draw(st.integers(0, len(cells[0]) - 1))
    marked = [row for row, texts in enumerate(cells) if texts[column].startswith("**")]
    row = data.draw(st.sampled_from(marked))
    cells[row][column] = cells[row][column].strip("*")
    assume(not one_row_is_all_bold(cells))
    assert found(markdown(cells)) == [(5 + row, "bold")]


@given(grids(), st.data())
def test_a_row_given_twice_is_found_alone(values: list[list[Decimal]], data: st.DataObject) -> None:
    text = markdown(write(values, bold=False))
    row = data.draw(st.integers(1, len(values) - 1))
    text = text.replace(f"| Model {'KLMNOPQ'[row]} |", "| Model K |")
    assert found(text) == [(5 + row, "duplicate")]


@st.composite
def counts(draw: st.DrawFn, questions: int) -> list[list[int]]:
    rows, columns = draw(st.integers(2, 5)), draw(st.integers(2, 4))
    cell = st.integers(0, questions)
    return draw(st.lists(st.lists(cell, min_size=columns, max_size=columns), min_size=rows, max_size=rows))


def percentages(table: list[list[int]], questions: int) -> list[list[str]]:
    tenth = Decimal("0.1")
    return [[f"{(Decimal(100 * k) / questions).quantize(tenth, ROUND_HALF_EVEN)}%" for k in row] for row in table]


def counted(cells: list[list[str]], questions: int) -> str:
    names = [f"Part {'ABCD'[i]} (n={questions})" for i in range(len(cells[0]))]
    lines = ["# Results", "", "| Model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| Model {'KLMNOPQ'[i]} | " + " | ".join(row) + " |" for i, row in enumerate(cells)]
    return "\n".join(lines) + "\n"


@given(st.integers(5, 60).flatmap(lambda n: st.tuples(st.just(n), counts(n))))
def test_possible_percentages_are_never_accused(case: tuple[int, list[list[int]]]) -> None:
    questions, table = case
    assert found(counted(percentages(table, questions), questions)) == []


@given(counts(QUESTIONS), st.data())
def test_an_impossible_percentage_is_found_alone(table: list[list[int]], data: st.DataObject) -> None:
    cells = percentages(table, QUESTIONS)
    row = data.draw(st.integers(0, len(cells) - 1))
    column = data.draw(st.integers(0, len(cells[0]) - 1))
    wrong = Decimal(100 * table[row][column]) / QUESTIONS + data.draw(
        st.sampled_from([Decimal(-1), Decimal(1), Decimal("0.7")])
    )
    assume(0 <= wrong <= 100)
    cells[row][column] = f"{wrong:.1f}%"
    assert found(counted(cells, QUESTIONS)) == [(5 + row, "impossible")]


@given(counts(35), st.data())
def test_a_row_cut_off_is_found_alone(table: list[list[int]], data: st.DataObject) -> None:
    """One row of a rounded table is cut off instead."""
    cells = percentages(table, 35)
    row = data.draw(st.integers(0, len(cells) - 1))
    cut = [f"{(Decimal(100 * k) / 35).quantize(Decimal('0.1'), ROUND_DOWN)}%" for k in table[row]]
    assume(cut != cells[row])
    cells[row] = cut
    assert found(counted(cells, 35)) == [(5 + row, "rounding")]


texts = st.text(alphabet="abc 0123456789.%*()-", min_size=0, max_size=8).map(str.strip)


@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=5), st.data())
def test_cells_put_back_give_the_same_document(rows: list[list[str]], data: st.DataObject) -> None:
    """Every cell overwritten by a text of the same length, then put back: no byte differs."""
    pads = st.integers(0, 4).map(lambda n: " " * n)
    lines = ["| a | b | c |", "|:-:|--:|---|"]
    lines += ["|" + "|".join(data.draw(pads) + text + data.draw(pads) for text in row) + "|" for row in rows]
    document = "\n".join(lines)
    (table,) = find_tables(document)
    cells = {(row.line, i): cell.text for row in table.rows for i, cell in enumerate(row.cells)}
    blank = put_cells(document, {place: "x" * len(text) for place, text in cells.items()})
    assert put_cells(blank, cells) == document


@given(st.decimals(0, 100, places=4), st.integers(0, 3), st.sampled_from([Rounding.NEAREST, Rounding.TRUNCATE]))
def test_a_text_stands_for_the_value_it_was_written_from(value: Decimal, decimals: int, rule: Rounding) -> None:
    number = parse_number(format_value(value, decimals, rule))
    assert number is not None
    low, high = bounds(number.value, decimals, rule)
    assert low <= value <= high


LANGUAGES = ("Python", "C++", "JavaScript", "Java", "PHP", "Rust")


def indexed(cents: list[int], unit: int) -> list[str]:
    """A card whose model-index repeats its table's only row, in the same or the other unit."""
    lines = ["---", "model-index:", "- name: org/tiny-coder-1b", "  results:"]
    for language, value in zip(LANGUAGES, cents, strict=False):
        shown = Decimal(value) if unit == 100 else Decimal(value) * CENT
        lines += [
            "  - task: {type: text-generation}",
            f"    dataset: {{type: x/y, name: 'HumanEval ({language})', config: {language}}}",
            f"    metrics: [{{type: pass@1, value: {shown}}}]",
        ]
    names = LANGUAGES[: len(cents)]
    cells = [str(Decimal(value) * CENT) for value in cents]
    lines += ["---", "| Model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return [*lines, "| Tiny Coder 1B | " + " | ".join(cells) + " |"]


values_in_cents = st.lists(st.integers(2, 98), min_size=2, max_size=6)


@given(values_in_cents, st.sampled_from([1, 100]))
def test_a_model_index_that_repeats_its_table_is_never_accused(cents: list[int], unit: int) -> None:
    assert found("\n".join(indexed(cents, unit))) == []


@given(values_in_cents, st.sampled_from([1, 100]), st.data())
def test_a_contradicting_model_index_value_is_found_alone(cents: list[int], unit: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(cents) - 1))
    wrong = data.draw(st.integers(2, 98).filter(lambda value: abs(value - cents[place]) > 1))
    lines = indexed(cents, unit)
    line = 6 + 3 * place
    lines[line] = indexed([*cents[:place], wrong, *cents[place + 1 :]], unit)[line]
    assert found("\n".join(lines)) == [(line + 1, "front_matter")]


@given(values_in_cents, st.data())
def test_a_result_given_twice_is_found_alone(cents: list[int], data: st.DataObject) -> None:
    lines = indexed(cents, 100)
    start = 4 + 3 * data.draw(st.integers(0, len(cents) - 1))
    lines[4 + 3 * len(cents) : 4 + 3 * len(cents)] = lines[start : start + 3]
    assert found("\n".join(lines)) == [(7 + 3 * len(cents), "duplicate")]


@given(st.text(alphabet="|-: \n*#`[]()1.%ab", max_size=300))
def test_no_document_breaks_the_reader(document: str) -> None:
    """Whatever stands there is read or passed over, and comes back unchanged."""
    cells = {
        (row.line, i): cell.text
        for table in find_tables(document)
        for row in table.rows
        for i, cell in enumerate(row.cells)
    }
    assert put_cells(document, cells) == document
    audit(document)
