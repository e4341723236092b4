"""Gold expansion, schema and prompts, and the query taken out of what a model wrote."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from codecard.answers.sql import extract_sql, statements, tokens
from codecard.model import GoldSql, InfrastructureError, PromptStyle, UsageError
from codecard.pinned import PinnedFile
from codecard.settings import load_profile
from codecard.sql.definition import definition, expand_gold, load, parse_questions, prune, schema_text
from codecard.suites import find_suite
from codecard.suites.sql.suite import read_results


def test_braces_stand_for_every_subset_of_their_columns() -> None:
    """A model that returns the id with the name must not fail for it."""
    assert expand_gold("SELECT {a, b}, count(*) FROM t GROUP BY {};") == (
        "SELECT a, count(*) FROM t GROUP BY a",
        "SELECT  b, count(*) FROM t GROUP BY  b",
        "SELECT a,  b, count(*) FROM t GROUP BY a,  b",
    )


def test_alternatives_between_semicolons_are_each_a_gold() -> None:
    """Only the first alternative was ever tried in an early version: right answers of the second form failed."""
    assert expand_gold("SELECT 1; SELECT {a,b} FROM t;") == (
        "SELECT 1", "SELECT a FROM t", "SELECT b FROM t", "SELECT a, b FROM t",
    )  # fmt: skip


def test_a_second_pair_of_braces_is_left_as_it_is() -> None:
    """The reference expands the first pair alone; expanding more would make golds that it does not have."""
    assert expand_gold("SELECT {a} FROM t WHERE x = '{b}'") == ("SELECT a FROM t WHERE x = '{b}'",)


def test_a_comment_ends_no_line_of_the_schema_early() -> None:
    """A description with a line break would comment out half of the schema, and the last column takes no comma."""
    column = {"column_name": "a", "data_type": "int", "column_description": "first\nsecond"}
    assert schema_text({"t": [column, {**column, "column_name": "b", "column_description": ""}]}) == (
        "CREATE TABLE t (\n  a int, --first second\n  b int\n);"
    )


def test_pruning_keeps_the_columns_the_question_speaks_of() -> None:
    """A pruned schema without the asked column makes a question that cannot be answered."""
    columns = [{"column_name": name, "data_type": "int", "column_description": ""} for name in ("x", "price", "y")]
    assert prune({"t": columns, "u": [{**columns[0], "column_name": "z"}]}, "average prices?", 1) == {"t": [columns[1]]}


@pytest.mark.parametrize(
    ("text", "style", "query"),
    [
        ("SELECT 1;\n```\nThis counts.", PromptStyle.RAW, "SELECT 1"),
        ("SELECT 1\n```\n```sql\nSELECT 2", PromptStyle.RAW, "SELECT 1"),
        ("\n```sql\nSELECT 1;\n```", PromptStyle.RAW, "SELECT 1"),
        ("[SQL]SELECT 1[/SQL] because", PromptStyle.RAW, "SELECT 1"),
        ("SELECT ';' AS a; SELECT 2", PromptStyle.RAW, "SELECT ';' AS a"),
        ("SELECT 1 -- one; and only\n FROM t; DROP TABLE t", PromptStyle.RAW, "SELECT 1 -- one; and only\n FROM t"),
        ("SELECT $$;$$; SELECT 2", PromptStyle.RAW, "SELECT $$;$$"),
        ("SELECT 1<|im_end|>SELECT 2", PromptStyle.RAW, "SELECT 1"),
        (";;SELECT 1", PromptStyle.RAW, "SELECT 1"),
        ("-- nothing\n;", PromptStyle.RAW, ""),
        ("", PromptStyle.RAW, ""),
        ("Sure:\n```sql\nSELECT 1;\n```\nor\n```sql\nSELECT 2;\n```", PromptStyle.CHAT, "SELECT 1"),
        ("```python\nprint()\n```\n```\nSELECT 1\n```", PromptStyle.CHAT, "SELECT 1"),
        ("```sql\nCREATE TABLE t ();\n```\n```sql\nWITH a AS (SELECT 1) SELECT * FROM a\n```", PromptStyle.CHAT,
         "WITH a AS (SELECT 1) SELECT * FROM a"),
        ("The answer is [SQL] SELECT 1", PromptStyle.CHAT, "SELECT 1"),
        ("The query:\n\nSELECT a\nFROM t;\n\nIt lists a.", PromptStyle.CHAT, "SELECT a\nFROM t"),
        ("The query:\n\nSELECT a\nFROM t\n\nIt lists a.", PromptStyle.CHAT, "SELECT a\nFROM t"),
        ("```sql\nSELECT 1", PromptStyle.CHAT, "SELECT 1"),
        ("I do not know.", PromptStyle.CHAT, ""),
    ],
)  # fmt: skip
def test_the_query_is_found_in_what_a_model_wrote(text: str, style: PromptStyle, query: str) -> None:
    """A query cut wrongly fails for the harness's fault."""
    assert extract_sql(text, style) == query


def test_the_scanner_loses_nothing() -> None:
    """Its pieces joined are the text: a rewrite must not eat a character."""
    text = "SELECT E'a\\'b', \"x;y\", $q$;$q$, 'it''s' /* ; */ -- ;\n FROM tä WHERE a<>1.5e3;"
    assert "".join(piece for _, piece in tokens(text)) == text
    assert len(statements(text)) == 1


def test_every_category_of_a_version_has_its_column() -> None:
    """A question under an unknown name would vanish from the table."""
    version = definition("2024-03")
    assert sum(version.counts.values()) == 200
    suite = find_suite("sql")
    assert {version.categories[name] for name in version.counts} == set(suite.tasks())
    assert suite.configured(load_profile("card-2024-03")).comparer == "reference"
    assert suite.configured(load_profile("strict")).comparer == "strict"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("How many?,,academic,where", "no gold query"),
        ("How many?,SELECT 1,atlantis,where", "unknown database 'atlantis'"),
        ("How many?,SELECT 1,academic,riddle", "unknown category 'riddle'"),
    ],
)
def test_a_question_that_cannot_be_judged_is_refused(line: str, complaint: str) -> None:
    """A question without gold, or on a database that is not there, would count as wrong for ever."""
    with pytest.raises(UsageError, match=complaint):
        list(parse_questions(definition("2024-03"), "gen200", f"question,query,db_name,query_category\n{line}\n"))


def test_an_unknown_version_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="2024-03, newest"):
        definition("2023-08")


def _pinned(folder: Path, text: str) -> PinnedFile:
    source = folder / "source.csv"
    source.write_text(text, "utf-8")
    return PinnedFile(path="a/b.csv", url=source.as_uri(), sha256=hashlib.sha256(text.encode()).hexdigest())


def test_a_file_is_fetched_once_and_verified(tmp_path: Path) -> None:
    """A run must not depend on the network twice, nor trust what it gets."""
    file = _pinned(tmp_path, "question\n")
    file.fetch(tmp_path / "cache")
    (tmp_path / "source.csv").unlink()
    file.fetch(tmp_path / "cache")
    assert file.read(tmp_path / "cache") == b"question\n"


def test_a_file_that_is_not_the_pinned_one_is_not_kept(tmp_path: Path) -> None:
    """Other questions under the same name would give other numbers without a word."""
    file = replace(_pinned(tmp_path, "question\n"), sha256="0" * 64)
    with pytest.raises(InfrastructureError, match="not the pinned file"):
        file.fetch(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_file_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    file = replace(_pinned(tmp_path, ""), url=(tmp_path / "nowhere").as_uri())
    with pytest.raises(InfrastructureError, match="CODECARD_DATA"):
        file.fetch(tmp_path / "cache")


def test_changed_data_are_refused(tmp_path: Path) -> None:
    """An edited question file in CODECARD_DATA would be scored as if it were the benchmark."""
    file = _pinned(tmp_path, "question\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.csv").write_text("edited\n")
    with pytest.raises(UsageError, match="not the pinned file"):
        file.read(tmp_path)


def test_an_unknown_prompt_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="generic, tags"):
        load(definition("2024-03"), tmp_path, prompt="poem")


@pytest.mark.data
def test_result_files_of_sql_eval_find_their_questions(data_dir: Path) -> None:
    """An importer that goes by row number would score each answer against its neighbour's gold."""
    problems = load(definition("2024-03"), data_dir / "sql")
    chosen = [problems[7], problems[3], problems[7]]
    lines = ["question,db_name,generated_query,correct"]
    for at, problem in enumerate(chosen):
        gold = problem.checker
        assert isinstance(gold, GoldSql)
        quoted = gold.question.replace('"', '""')
        lines.append(f'"{quoted}",{gold.database},SELECT {at},0')
    found = read_results("\n".join(lines), problems, "results.csv")
    assert [(c.problem, c.sample, c.text) for c in found] == [
        ("gen200/7", 0, "SELECT 0"), ("gen200/3", 0, "SELECT 1"), ("gen200/7", 1, "SELECT 2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("a,b\n1,2\n", "no column"), ("question,db_name,generated_query\nWhy?,x,y\n", "row 1: not a question")],
)
def test_another_csv_is_no_result_file(content: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        read_results(content, [], "other.csv")


@pytest.mark.data
def test_the_prompt_holds_the_question_and_every_column(data_dir: Path) -> None:
    """A prompt with a placeholder left in it was once sent to a model for a whole benchmark."""
    for form in ("generic", "tags", "chat"):
        problem = load(definition("2024-03"), data_dir / "sql", prompt=form)[0]
        assert isinstance(problem.checker, GoldSql)
        assert problem.checker.question in problem.prompt
        assert "CREATE TABLE conference" in problem.prompt
        assert "{" not in problem.prompt
