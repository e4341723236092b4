#!/usr/bin/env python3
"""Speed of the SQL suite against the reference's way, on the same predictions, the same server, in one run.

The reference's way (defog-ai/sql-eval, eval/eval.py at 563a9c85): for every prediction a new SQLAlchemy engine and
connection, results as pandas frames, and every gold query run again the same way, until one matches. Ours: kept
connections, gold results computed once, rows compared in Python, over a pool. Prints questions a second, client
CPU, and how long the server takes to start, cold and warm.

    CODECARD_DATA=… python scripts/bench_sql.py [--server system|wheel] [--rounds N] [--workers N]

The reference arm needs SQLAlchemy, pandas, psycopg2 and func_timeout in the Python that runs this.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from codecard.model import GoldSql, Problem
from codecard.sql import DatabaseOptions, open_database
from codecard.sql.definition import data_folder, definition, load

VERSION = "newest"


def reference_arm() -> None:
    """Runs in a process of its own: reads the work from stdin, writes verdicts and times to stdout."""
    import pandas as pd
    from func_timeout import func_timeout
    from pandas.testing import assert_frame_equal, assert_series_equal
    from sqlalchemy import create_engine

    def fetch(sql: str, url: str) -> pd.DataFrame:
        engine = create_engine(url)
        try:
            return func_timeout(10.0, pd.read_sql_query, args=(sql.replace("%", "%%"), engine))
        finally:
            engine.dispose()

    def tidy(frame: pd.DataFrame, ordered: bool) -> pd.DataFrame:
        frame = frame.drop_duplicates()
        frame = frame.reindex(sorted(frame.columns), axis=1)
        if not ordered:
            frame = frame.sort_values(by=list(frame.columns))
        return frame.reset_index(drop=True)

    def exact(gold: pd.DataFrame, found: pd.DataFrame, ordered: bool) -> bool:
        if gold.shape == found.shape and (gold.values == found.values).all():
            return True
        gold, found = tidy(gold, ordered), tidy(found, ordered)
        return gold.shape == found.shape and bool((gold.values == found.values).all())

    def contained(gold: pd.DataFrame, found: pd.DataFrame, ordered: bool) -> bool:
        rest, matched = found.copy(deep=True), []
        for name in gold.columns:
            for other in rest.columns:
                left, right = (f.sort_values().reset_index(drop=True) for f in (gold[name], rest[other]))
                try:
                    assert_series_equal(left, right, check_dtype=False, check_names=False)
                except AssertionError:
                    continue
                matched.append(other)
                rest = rest.drop(columns=[other])
                break
            else:
                return False
        renamed = found[matched].rename(columns=dict(zip(matched, gold.columns, strict=True)))
        try:
            assert_frame_equal(tidy(gold, ordered), tidy(renamed, ordered), check_dtype=False)
        except AssertionError:
            return False
        return True

    def judge(item: dict[str, Any]) -> bool:
        url = f"postgresql+psycopg2://codecard@/{item['database']}?host={work['host']}"
        ordered = bool(item["ordered"])
        correct = False
        try:
            found = fetch(str(item["prediction"]), url)
            for query in item["golds"]:
                gold = fetch(query, url)
                if exact(gold, found, ordered):
                    return True
                correct = correct or contained(gold, found, ordered)
        except Exception:  # as the reference: whatever raises is not correct
            return False
        return correct

    work = json.load(sys.stdin)
    judge(work["items"][0])
    wall, cpu = time.perf_counter(), time.process_time()
    verdicts = [judge(item) for item in work["items"]]
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    json.dump({"verdicts": verdicts, **spent}, sys.stdout)


def predictions(problems: list[Problem]) -> list[tuple[Problem, str]]:
    """For each question its own gold, and the gold of another question on the same database."""
    golds = [(problem, problem.checker) for problem in problems if isinstance(problem.checker, GoldSql)]
    pairs = []
    for at, (problem, gold) in enumerate(golds):
        others = [other for _, other in golds[at + 1 :] + golds[:at] if other.database == gold.database]
        pairs += [(problem, gold.queries[0]), (problem, others[0].queries[0])]
    return pairs


def starts(options: DatabaseOptions) -> tuple[float, float]:
    """Seconds from nothing to a filled, running server: with an empty cache, and the median of five after that."""
    place = Path(tempfile.mkdtemp(prefix="codecard-bench-"))
    place.chmod(0o755)
    before = os.environ.get("CODECARD_CACHE")
    os.environ["CODECARD_CACHE"] = str(place)
    try:
        taken = []
        for _ in range(6):
            with open_database(definition(VERSION), options) as database:
                taken.append(database.started.seconds)
    finally:
        os.environ.pop("CODECARD_CACHE") if before is None else os.environ.update(CODECARD_CACHE=before)
        shutil.rmtree(place, ignore_errors=True)
    return taken[0], statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=None, help="system, wheel, or a folder of programs")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both arms in turn; medians are shown")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arm", choices=["reference"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.arm:
        reference_arm()
        return
    options = DatabaseOptions(server=asked.server, workers=asked.workers)
    version = definition(VERSION)
    problems = [p for p in load(version, data_folder(version)) if p.id.startswith("gen210/")]
    pairs = predictions(problems)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with open_database(version, options) as database:
        began = time.perf_counter()
        report = database.check_golds(problems)
        print(f"PostgreSQL {database.facts['postgres']}, {len(pairs)} predictions, {asked.workers} workers")
        print(f"golds: {report.queries} alternatives checked in {time.perf_counter() - began:.2f} s")
        host = database._access.admin("postgres").split()[0].removeprefix("host=")
        items = [_item(problem, sql) for problem, sql in pairs]
        work = json.dumps({"host": host, "items": items})
        database.judge_many(pairs[:20])
        for _ in range(asked.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            outcomes = database.judge_many(pairs)
            ours.append((time.perf_counter() - wall, time.process_time() - cpu))
            arm = [sys.executable, __file__, "--arm", "reference"]
            said = subprocess.run(arm, input=work, capture_output=True, text=True, check=True)
            result = json.loads(said.stdout)
            theirs.append((result["wall"], result["cpu"]))
    same = sum(bool(o.reference_passed) == v for o, v in zip(outcomes, result["verdicts"], strict=True))
    (wall, cpu), (their_wall, their_cpu) = (
        [statistics.median(column) for column in zip(*arm, strict=True)] for arm in (ours, theirs)
    )
    n = len(pairs)
    print(f"{'':12}{'questions/s':>12}{'client CPU, ms a question':>28}")
    print(f"{'reference':12}{n / their_wall:12.1f}{1000 * their_cpu / n:28.2f}")
    print(f"{'codecard':12}{n / wall:12.1f}{1000 * cpu / n:28.2f}")
    print(f"{'ratio':12}{their_wall / wall:12.1f}{their_cpu / cpu:28.1f}")
    print(f"same verdict on {same} of {n} predictions")
    cold, warm = starts(options)
    print(f"start of the server with {len(version.schemas)} databases: cold {cold:.2f} s, warm {warm:.3f} s")


def _item(problem: Problem, sql: str) -> dict[str, object]:
    gold = problem.checker
    assert isinstance(gold, GoldSql)
    ordered = gold.category == "order_by"
    return {"database": gold.database, "golds": gold.queries, "prediction": sql, "ordered": ordered}


if __name__ == "__main__":
    main()
