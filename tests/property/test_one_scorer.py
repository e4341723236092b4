"""A folder has one set of scores, whatever was asked of it in whatever order, and whoever reads it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codecard
from codecard.cli import app
from codecard.model import UsageError
from codecard.runs.measured import read_measurements
from codecard.runs.merge import merge
from codecard.suites import find_suite
from folders import read_executions, read_scores, read_texts
from packages import install

SUITES = ("sums", "less")
RATED = '''
from dataclasses import replace

from codecard.model import Void
from sums import Sums, SumsSession


class Less(Sums):
    """Differences, rated from 1 to 5; what is rated 5 by luck alone cannot be judged."""

    name = kind = "less"
    title = "Less"
    sampled = False
    scale = (1.0, 5.0)

    def tasks(self):
        return {"less/minus": "minus"}

    def open(self, setting, options, files=()):
        return LessSession(self, self.asking(setting, options), options)


class LessSession(SumsSession):
    def problems(self):
        return [replace(p, task="less/minus") for p in super().problems() if p.task == "sums/minus"]

    def evaluate(self, works):
        for work in works:
            a = int(work.problem.id[0])
            void = Void(who="judge", why="no rating") if a == 3 else None
            verdict, value = ("void", None) if void else ("rated", float(a))
            yield work.outcome(verdict, value, self.key(work), void=void, graded=True)
'''


@pytest.fixture(scope="module", autouse=True)
def _installed(documented_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("packages") / "site"
    install(site, "less", RATED, '[project.entry-points."codecard.suites"]\nless = "less:Less"\n')
    sys.path[:0] = [str(site), str(documented_packages)]
    yield
    del sys.path[:2]


@st.composite
def commands(draw: st.DrawFn) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(("run", "run", "run", "shard", "merge")))
    suites = draw(st.sampled_from((("sums",), ("less",), SUITES)))
    limit, samples = draw(st.sampled_from((1, 2, 5, None))), draw(st.sampled_from((1, 2)))
    return kind, suites, limit, samples, draw(st.integers(0, 2))


def carry_out(out: Path, command: tuple[Any, ...], base: Path) -> None:
    kind, suites, limit, samples, index = command
    options: dict[str, Any] = {"suite": suites, "model": "abacus:hasty", "limit": limit, "progress": False}
    options |= {"samples": samples if suites != ("less",) else None}
    if kind == "run":
        codecard.run(**options, out=str(out))
    elif kind == "shard":
        codecard.run(**options, out=str(out), shard=f"{index}/3")
    else:
        elsewhere = base / f"elsewhere-{len(list(base.iterdir()))}"
        codecard.run(**options, out=str(elsewhere), shard=f"{index}/3")
        if read_texts(elsewhere) or read_texts(out):  # an empty shard alone is nothing to merge
            merge(out, [elsewhere])


def values(estimates: dict[str, dict[str, Any]]) -> dict[tuple[str, str], tuple[float | None, int, int]]:
    """(task, metric) → value, n, void, of scores as JSON."""
    return {(t, m): (e["value"], e["n"], e["void"]) for t, found in estimates.items() for m, e in found.items()}


@settings(deadline=None, max_examples=12)
@given(asked=st.lists(commands(), min_size=1, max_size=4))
def test_every_reader_of_a_folder_tells_the_same_numbers(asked: list[tuple[Any, ...]]) -> None:
    """The terminal's tables, tables.md, scores.json, report, reproduce, compare, the gate and load_run."""
    base = Path(tempfile.mkdtemp())
    try:
        out = base / "run"
        for command in asked:
            carry_out(out, command, base)
            if read_texts(out):  # an empty shard is refused by every reader
                one_number(out)
        if read_texts(out):
            everything_asked_is_there(out, asked)
    finally:
        shutil.rmtree(base)


def one_number(out: Path) -> None:
    told = values(read_scores(out))
    run = codecard.load_run(out)
    loaded = {(t, m): (e.value, e.n, e.void) for t, found in run.estimates.items() for m, e in found.items()}
    assert loaded == told
    assert values(reported(out, "--json")["scores"]) == told
    before = (out / "tables.md").read_text()
    reported(out, "--format", "md")
    assert (out / "tables.md").read_text() == before == run.markdown()
    found = codecard.compare(out, out, margin=0.0)
    for task, comparison in found.tasks.items():
        estimate = run.estimates[task]["rating" if find_suite(task.split("/")[0]).scale else "pass@1"]
        assert comparison.base == comparison.new
        if estimate.value is not None:
            assert comparison.base == pytest.approx(estimate.value)
            assert comparison.n == estimate.n
    measured = {(m.task, m.metric): m.estimate.value for m in read_measurements([out])}
    assert measured == {key: found[0] for key, found in told.items() if key in measured}
    assert {task for task, _ in measured} == {task for task, _ in told}


def reported(out: Path, *options: str) -> dict[str, Any]:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["report", str(out), *options])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout)) if "--json" in options else {}


def everything_asked_is_there(out: Path, asked: list[tuple[Any, ...]]) -> None:
    """The plan is the union of all that was asked, and each of its samples is scored or void."""
    run, executed = codecard.load_run(out), read_executions(out)
    planned = {(s.task, s.problem, s.sample) for s in run.samples}
    assert executed.keys() <= planned
    for kind, suites, limit, samples, _ in asked:
        for suite in suites if kind == "run" else ():
            for task in find_suite(suite).tasks():
                mine = {p for t, p, _ in planned if t == task}
                assert len(mine) >= min(limit or 9, 9)
                assert sum(t == task for t, _, _ in planned) >= len(mine)
                if suite == "sums" and samples == 2:
                    assert sum(s == 1 for t, _, s in planned if t == task) >= min(limit or 9, 9)


def test_another_models_answers_never_enter_the_folder(tmp_path: Path) -> None:
    codecard.run(suite="sums", model="abacus:hasty", limit=2, out=str(tmp_path / "run"), progress=False)
    before = read_scores(tmp_path / "run")
    with pytest.raises(UsageError, match=r"another recipe\.model"):
        codecard.run(suite="sums", model="abacus:exact", out=str(tmp_path / "run"), progress=False)
    assert read_scores(tmp_path / "run") == before
    one_number(tmp_path / "run")
