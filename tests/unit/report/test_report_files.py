"""JUnit XML, Markdown and pandas frames: read back by others' readers, whatever the run holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from codecard.api import load_run
from codecard.report.junit import comparison_junit, run_junit
from codecard.report.summary import comparison_summary, run_summary
from codecard.runs.comparable import Side
from codecard.runs.reading import read_run
from codecard.settings import load_profile
from codecard.stats import compare
from codecard.stats.paired import pair_up
from codecard.suites import find_suite
from codecard.suites.code.suite import CodeSuite
from codecard.text import markdown, printable

MakeRun = Callable[..., Path]
MIXED = {
    "multipl_e/py:HumanEval_0_a": ["passed", "passed", "wrong"],
    "multipl_e/py:HumanEval_1_b": ["wrong", "timeout", "passed"],
    "multipl_e/cpp:HumanEval_0_a": ["sandbox_error", "passed", "passed"],
    "multipl_e/cpp:HumanEval_1_b": ["sandbox_error", "sandbox_error", "not executed"],
}
BROKEN = "a\x00b\x1b[31m\udc80 ]]> </testcase><x> \u202e | `#` $x$ \uffff"


def cases(xml: str) -> dict[str, Any]:
    junitparser = pytest.importorskip("junitparser")
    document = junitparser.JUnitXml.fromstring(xml.encode())
    return {f"{case.classname}:{case.name}": case for suite in document for case in suite}


def kinds(xml: str) -> dict[str, list[str]]:
    names = ("Error", "Failure", "Skipped")
    return {
        key: [type(r).__name__ for r in case.result if type(r).__name__ in names] for key, case in cases(xml).items()
    }


def test_junit_void_is_an_error_and_wrong_only_a_failure_on_request(make_run: MakeRun) -> None:
    """A broken machine turns the build red; a model's mistakes do so only when the build asks for it."""
    run = read_run(make_run("mixed", MIXED))
    expected = {
        "multipl_e.py:HumanEval_0_a": [],
        "multipl_e.py:HumanEval_1_b": [],
        "multipl_e.cpp:HumanEval_0_a": ["Error"],
        "multipl_e.cpp:HumanEval_1_b": ["Error"],
    }
    assert kinds(run_junit(run)) == expected
    assert kinds(run_junit(run, fail_wrong=True)) == {**expected, "multipl_e.py:HumanEval_1_b": ["Failure"]}


def test_junit_counts_agree_with_its_cases(make_run: MakeRun) -> None:
    """Readers show the attributes, not the cases."""
    root = ElementTree.fromstring(run_junit(read_run(make_run("mixed", MIXED)), fail_wrong=True).encode())
    assert {name: root.get(name) for name in ("tests", "errors", "failures")} == {
        "tests": "4",
        "errors": "2",
        "failures": "1",
    }
    for suite in root:
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        assert suite.get("errors") == str(len(suite.findall("testcase/error")))
    properties = {p.get("name"): p.get("value") for p in root.findall("testsuite[@name='multipl_e/cpp']//property")}
    assert properties["pass@1 value"] == "1"
    assert properties["pass@1 void"] == "4"


def test_junit_keeps_to_the_elements_and_attributes_of_jenkins(make_run: MakeRun) -> None:
    """Names that junit-10.xsd of Jenkins' xUnit plugin allows; readers reject others."""
    allowed = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
        "properties": set(),
        "property": {"name", "value"},
        "testcase": {"name", "classname", "time"},
        "error": {"message", "type"},
        "failure": {"message", "type"},
        "skipped": {"message", "type"},
        "system-out": set(),
        "system-err": set(),
    }
    run = read_run(make_run("mixed", MIXED))
    both = compare(run.samples, run.samples)
    for xml in (run_junit(run, fail_wrong=True), comparison_junit(both, pair_up(run.samples, run.samples))):
        for element in ElementTree.fromstring(xml.encode()).iter():
            assert set(element.attrib) <= allowed[element.tag]


def test_junit_survives_output_that_xml_forbids(make_run: MakeRun) -> None:
    """A NUL or a lone surrogate in stderr must not make the whole file unreadable."""
    run = make_run("broken", {"multipl_e/py:HumanEval_0_" + BROKEN: [{"verdict": "wrong", "stderr": BROKEN}]})
    (case,) = cases(run_junit(read_run(run), fail_wrong=True)).values()
    assert case.system_err == "a␀b␛[31m⟨U+DC80⟩ ]]> </testcase><x> ⟨U+202E⟩ | `#` $x$ ⟨U+FFFF⟩"
    assert "<x>" in case.name


def test_junit_of_a_comparison_holds_the_decision_and_each_problem(make_run: MakeRun) -> None:
    """The gate is one case; lost problems are failures only on request."""
    keys = [f"multipl_e/py:HumanEval_{i}_f" for i in range(30)]
    base = read_run(make_run("base", {key: ["passed"] for key in keys})).samples
    new = read_run(make_run("new", {key: ["wrong" if i < 15 else "passed"] for i, key in enumerate(keys)})).samples
    compared = compare(base, new)
    found = kinds(comparison_junit(compared, pair_up(base, new)))
    assert found["codecard.gate:multipl_e pooled"] == ["Failure"]
    assert sum(map(len, found.values())) == 1
    assert sum(map(len, kinds(comparison_junit(compared, pair_up(base, new), fail_wrong=True)).values())) == 16


def table_of(text: str) -> list[list[str]]:
    """Cells of the first table, by a Markdown parser that is not ours."""
    markdown_it = pytest.importorskip("markdown_it")
    html = markdown_it.MarkdownIt("js-default").render(text)
    table = html[html.index("<table>") : html.index("</table>") + 8]
    root = ElementTree.fromstring(table)
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_the_summary_renders_as_tables(make_run: MakeRun) -> None:
    """A pipe or an HTML tag in a name must not tear the table that a reviewer reads."""
    recipe = {"model": "evil | <img src=x> `m`\n# head", "sampling": {}}
    run = read_run(make_run("mixed|<b>", MIXED, recipe=recipe))
    text = run_summary(run)
    assert "<img" not in text
    rows = table_of(text)
    assert rows[0] == ["evil | <img src=x> `m` # head", "Avg", "Python", "C++"]
    assert [row[0] for row in rows[1:]] == ["pass@1", "95 %", "problems"]
    assert rows[1][3] == "1.00"
    assert rows[3][2:] == ["2", "1 +4 void"]
    assert text.startswith("## evil \\| &lt;img src=x&gt; \\`m\\` \\# head\n")
    compared = compare(run.samples, run.samples)
    table = table_of(comparison_summary(Side.of(run), Side.of(run), compared))
    assert table[0][0] == "Task"
    assert table[-1][0] == "multipl_e/pooled"
    assert {len(row) for row in table} == {13}


def test_unshowable_characters_have_a_picture_or_a_code_point() -> None:
    """What a terminal, an XML reader or an eye would misread is spelled out; ordinary text is untouched."""
    assert printable("tab\t newline\n ünïcödé 漢字 🙂") == "tab\t newline\n ünïcödé 漢字 🙂"
    assert printable("\x1b[2J\r\n\r\x7f\x85\u200b\ufeff") == "␛[2J\n␍␡⟨U+0085⟩⟨U+200B⟩⟨U+FEFF⟩"
    assert markdown("a|b\n<c>&@d") == "a\\|b &lt;c&gt;&amp;\\@d"


def test_frames_hold_every_planned_sample_and_survive_parquet(make_run: MakeRun, tmp_path: Path) -> None:
    """A notebook must see the voids too, and broken text must not stop the export."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    broken = {"verdict": "wrong", "stderr": BROKEN, "completion": BROKEN}
    mixed = {**MIXED, "multipl_e/py:HumanEval_0_a": ["passed", broken]}
    frames = load_run(make_run("mixed", mixed))
    assert len(frames.completions) == 11
    assert len(frames.executions) == 10
    assert len(frames.scores) == 12
    void = frames.scores[frames.scores.value.isna()]
    assert sorted(void.void) == ["not executed", "not generated", *["the container died"] * 3]
    assert frames.executions.passed.isna().sum() == 3
    assert set(frames.scores.cluster) == {"HumanEval_0", "HumanEval_1"}
    paths = frames.to_parquet(tmp_path / "out")
    assert [len(pandas.read_parquet(path)) for path in paths] == [11, 10, 12]
    assert pandas.read_parquet(paths[0]).text.str.contains("udc80").any()


def test_completions_made_elsewhere_are_not_planned(make_run: MakeRun) -> None:
    """A file with one sample for some problems and three for others has no missing samples."""
    outcomes = {"multipl_e/py:HumanEval_0_a": ["passed"] * 3, "multipl_e/py:HumanEval_1_b": ["wrong"]}
    assert len(read_run(make_run("elsewhere", outcomes, recipe=None)).samples) == 4
    assert len(read_run(make_run("planned", outcomes)).samples) == 6


def test_limits_are_told_in_numbers_while_they_are_the_defined_ones() -> None:
    """A reader of a time-out must see the limit; a hash of other limits is shown as it is, never as today's."""
    suite = find_suite("multipl_e")
    assert isinstance(suite, CodeSuite)
    task = next(task for task in suite.code_tasks if task.language.name == "cpp")
    key = task.limits(suite.configured(load_profile("strict"))).key
    assert suite.limits_text(task.task, key, "strict").startswith("build: ")
    assert "s CPU" in suite.limits_text(task.task, key, "strict")
    assert suite.limits_text(task.task, "0123", "strict") == "0123"
    assert suite.limits_text(task.task, key, "no-such") == key
    assert find_suite("sql").limits_text("sql/date", key, "strict") == key
