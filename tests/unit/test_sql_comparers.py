"""The two comparers on results made by hand: what each accepts, and where the reference errs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from codecard.model import GoldSql
from codecard.sql import reference as sql_reference
from codecard.sql import strict as sql_strict
from codecard.sql.rows import Rows
from codecard.sql.strict import Gold


def rows(columns: str, *cells: tuple[object, ...]) -> Rows:
    return Rows(tuple(columns.split()), cells)


def reference(
    gold: Rows, found: Rows, *, category: str = "where", source: str = "", query: str = "", question: str = ""
) -> sql_reference.ReferenceVerdict:
    checker = GoldSql(database="d", queries=("",), source=source, category=category, question=question)
    return sql_reference.compare(checker, [gold], query, found)


def strict(gold: Rows, found: Rows, groups: tuple[int, ...] | None = None, *, ordered: bool = False) -> bool:
    return sql_strict.compare([Gold(gold, groups)], found, ordered).passed


TWO = rows("name n", ("ann", 1), ("bob", 2))

SAME = [
    ("as it stands", TWO, TWO),
    ("rows in another order", TWO, rows("name n", ("bob", 2), ("ann", 1))),
    ("other names", TWO, rows("who how_many", ("bob", 2), ("ann", 1))),
    ("a further column", TWO, rows("id name n", (7, "bob", 2), (8, "ann", 1))),
    ("columns the other way round", TWO, rows("n name", (2, "bob"), (1, "ann"))),
    ("a number of another type", TWO, rows("name n", ("ann", Decimal("1.0")), ("bob", 2.0))),
    ("a fraction within the tolerance", rows("x", (0.1,), (2.5,)), rows("y", (0.1000001,), (2.5,))),
    ("NULL for NULL", rows("a b", (None, 1), ("x", 2)), rows("b a", (2, "x"), (1, None))),
    ("true for 1", rows("a", (True,), (False,)), rows("a", (1,), (0,))),
]


@pytest.mark.parametrize(("gold", "found"), [pair[1:] for pair in SAME], ids=[pair[0] for pair in SAME])
def test_an_equivalent_result_passes_under_both(gold: Rows, found: Rows) -> None:
    """A right answer in another dress is a right answer."""
    assert reference(gold, found).passed
    assert strict(gold, found)


DIFFERENT = [
    ("no rows for one", rows("n", (3,)), rows("n")),
    ("one NULL for no rows", rows("n"), rows("n", (None,))),
    ("one row for no rows", rows("name n"), TWO),
    ("another value", TWO, rows("name n", ("ann", 1), ("bob", 3))),
    ("values exchanged between rows", TWO, rows("name n", ("ann", 2), ("bob", 1))),
    ("a row too many", TWO, rows("name n", ("ann", 1), ("bob", 2), ("eve", 3))),
    ("a column too few", TWO, rows("name", ("ann",), ("bob",))),
    ("NULL for a value", TWO, rows("name n", ("ann", 1), ("bob", None))),
    ("text for a number", rows("n", (1,)), rows("n", ("1",))),
    ("percent for a ratio", rows("r", (0.25,)), rows("r", (25.0,))),
    ("rounded", rows("r", (0.3333333,)), rows("r", (Decimal("0.33"),))),
    ("a neighbouring key", rows("id", (1000001,)), rows("id", (1000002,))),
]


@pytest.mark.parametrize(("gold", "found"), [pair[1:] for pair in DIFFERENT], ids=[pair[0] for pair in DIFFERENT])
def test_another_result_fails_under_both(gold: Rows, found: Rows) -> None:
    """The newest reference lets an empty result pass for one row, and a constant for a column; neither may here."""
    assert not reference(gold, found).passed
    assert not strict(gold, found)


def test_repeated_rows_fail_strictly_and_pass_the_reference() -> None:
    """The reference drops duplicates before it compares: a join that multiplies rows goes unseen."""
    one, three = rows("n", (4,)), rows("n", (4,), (4,), (4,))
    assert reference(one, three).passed
    assert not strict(one, three)


def test_the_reference_takes_a_missing_order_for_an_order() -> None:
    """It sorts both results by the first ORDER BY key of each query before it looks at their order."""
    gold, found = rows("name", ("bob",), ("ann",)), rows("name", ("ann",), ("bob",))
    source = "SELECT name FROM t ORDER BY name DESC"
    assert reference(gold, found, category="order_by", source=source, query="SELECT name FROM t ORDER BY name").passed
    assert not strict(gold, found, (1, 1), ordered=True)


def test_rows_that_tie_may_come_in_any_order() -> None:
    """The reference fails a right query whose equal keys the server happened to return otherwise."""
    gold = rows("name n", ("ann", 2), ("bob", 1), ("eve", 1))
    found = rows("name n", ("ann", 2), ("eve", 1), ("bob", 1))
    assert not reference(gold, found, category="order_by").passed
    assert strict(gold, found, (1, 2), ordered=True)
    assert not strict(gold, rows("name n", ("eve", 1), ("ann", 2), ("bob", 1)), (1, 2), ordered=True)


def test_an_order_nobody_asked_for_is_not_held_against_a_query() -> None:
    assert strict(TWO, rows("name n", ("bob", 2), ("ann", 1)), (1, 1), ordered=False)


def test_a_date_is_its_midnight_only_strictly() -> None:
    """DATE instead of DATE_TRUNC's timestamp: the reference was patched for it gold by gold."""
    gold, found = rows("d", (datetime(2024, 1, 1),)), rows("d", (date(2024, 1, 1),))
    assert not reference(gold, found).passed
    assert strict(gold, found)
    assert not strict(gold, rows("d", (date(2024, 1, 2),)))
    assert strict(gold, rows("d", (datetime(2024, 1, 1, tzinfo=UTC),)))


def test_arrays_and_repeated_names_raise_in_the_reference() -> None:
    """What pandas cannot hash or align is counted as wrong there; a careful reader has no such trouble."""
    lists = rows("tags n", (["a"], 1), (["b"], 2))
    turned = rows("tags n", (["b"], 2), (["a"], 1))
    assert reference(lists, turned).error == "TypeError"
    assert strict(lists, turned)
    twice = rows("n a n", (2, "x", 2), (1, "y", 1))
    assert reference(rows("n a", (1, "y"), (2, "x")), twice).error == "ValueError"
    assert strict(rows("n a", (1, "y"), (2, "x")), twice)


def test_labels_that_are_given_are_held_to() -> None:
    """A query that calls the minimum `max` has not answered, though both numbers are there."""
    assert strict(rows("low high", (1, 2)), rows("a b", (2, 1)))
    assert not strict(rows("low high", (1, 2)), rows("high low", (1, 2)))


def test_any_alternative_of_the_gold_will_do() -> None:
    golds = [Gold(rows("id", (1,))), Gold(rows("name", ("ann",)))]
    assert sql_strict.compare(golds, rows("x", ("ann",)), False).passed
    checker = GoldSql(database="d", queries=("", ""))
    assert sql_reference.compare(checker, [gold.rows for gold in golds], "", rows("x", ("ann",))).passed


def test_numbers_within_the_tolerance_are_paired_whatever_their_order() -> None:
    """Sorting alone pairs wrongly where rounding changes which of two rows comes first."""
    gold = rows("a b", (1.0000001, 5.5), (1.0, 7.25))
    assert strict(gold, rows("x y", (1.0, 5.5), (1.0000001, 7.25)))


def test_the_verdict_says_what_is_missing() -> None:
    verdict = sql_strict.compare([Gold(TWO)], rows("name n", ("ann", 1), ("bob", 9)), False)
    assert verdict.why == "no column holds the values of n"


def test_many_equal_columns_do_not_hang_the_search() -> None:
    """Thirty columns of ones have more mappings than the age of the universe has seconds."""
    gold = Rows(tuple(f"a{n}" for n in range(30)), ((1,) * 29 + (2,), (1,) * 29 + (3,)))
    found = Rows(tuple(f"b{n}" for n in range(30)), ((1,) * 29 + (3,), (1,) * 29 + (4,)))
    assert not strict(gold, found)


def test_intervals_and_their_like_compare_by_value() -> None:
    day, hours = timedelta(days=1), timedelta(hours=24)
    assert strict(rows("i", (day,)), rows("i", (hours,)))
    assert not strict(rows("i", (day,)), rows("i", (1,)))


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT a FROM t WHERE a ILIKE '%x%' AND b = '5%'", "SELECT a FROM t WHERE a ILIKE '%x%' AND b = '5%'"),
        ("SELECT a FROM t WHERE a ~~* '%x%'", None),
        ("SELECT 7 % 2", None),
        ("SELECT 7 %% 2", "SELECT 7 % 2"),
        ("SELECT 7 % 2 FROM t WHERE a LIKE 'x'", None),
    ],
)
def test_per_cent_signs_reach_the_server_as_the_reference_sends_them(sql: str, sent: str | None) -> None:
    """Its driver takes a per cent sign for a placeholder unless LIKE precedes it, and raises."""
    assert sql_reference.driver_text(sql) == sent
