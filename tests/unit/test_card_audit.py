"""The audit on the published card, on its corrected copy, and fault by fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from codecard.card.audit import audit
from codecard.card.reported import load_reported
from codecard.model import UsageError
from codecard.paths import reported_dir

KNOWN = load_reported(reported_dir())


def kinds(document: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.kind) for finding in audit(document, KNOWN)]


@pytest.fixture
def card(seeds_dir: Path) -> str:
    return (seeds_dir / "stable-code-instruct-3b.model-card.md").read_text()


def corrected(card: str) -> str:
    """The card with every fault mended, by hand."""
    for language, old, new in [
        ("Python", "32.4", "59.0"),
        ("C++", "30.9", "49.0"),
        ("Java", "32.1", "44.0"),
        ("JavaScript", "32.1", "49.0"),
        ("PHP", "24.2", "45.0"),
        ("Rust", "23.0", "37.0"),
    ]:
        head, tail = card.split(f"name: MultiPL-HumanEval ({language})\n", 1)
        config = f"      config: humaneval-{language.lower()}\n      split: test\n"
        card = f"{head}name: MultiPL-HumanEval ({language})\n{config}" + tail.replace(old, new, 1)
    for old, new in [
        ("| 3B   | 0.44 | 0.55", "| 3B   | 0.43 | 0.55"),
        ("**0.46** | 0.45 |", "**0.46** | **0.45** |"),
        ("**5.8**(ours)", "5.8(ours)"),
        (
            "| 24.0% | 54.2%    | 68.5%    | 40.0% | 54.2% | 42.8% |",
            "| 24.0% | 54.3%    | 68.6%    | 40.0% | 54.3% | 42.9% |",
        ),
        ("| SQLCoder                    |", "| SQLCoder (quoted from defog/sqlcoder2) |"),
    ]:
        assert card.count(old) == 1, old
        card = card.replace(old, new)
    return card


@pytest.mark.data
def test_every_fault_of_the_published_card_is_found_on_its_line(card: str) -> None:
    """Each known fault on its line: six model-index values, SFT average, cut row, PHP tie, two bold, quoted row."""
    lines = card.splitlines()
    found = kinds(card)
    assert found == [
        (17, "merged"),
        *[(line, "front_matter") for line in (22, 32, 42, 52, 62, 72)],
        (151, "bold"),
        (152, "average"),
        (159, "bold"),
        (168, "rounding"),
        (170, "quoted"),
    ]
    assert [lines[line - 1].split(":")[-1].strip() for line, kind in found if kind == "front_matter"] == [
        "32.4", "30.9", "32.1", "32.1", "24.2", "23.0",
    ]  # fmt: skip
    messages = {finding.line: finding.message for finding in audit(card, KNOWN)}
    assert "averaging before rounding could explain it" in messages[152]
    assert "19/35 = 54.286%" in messages[168]
    assert "two bold scores in one column" in messages[159]
    assert "ties for the best in PHP" in messages[151]
    assert "defog/sqlcoder2" in messages[170]
    assert "stable-code-3b" in messages[22]


@pytest.mark.data
def test_a_corrected_card_is_not_accused(card: str) -> None:
    """With every fault mended the audit is silent."""
    assert kinds(corrected(card)) == []


@pytest.mark.data
def test_a_clean_document_is_not_accused(seeds_dir: Path) -> None:
    """The README's 121 numbers follow from each other: nothing to report."""
    assert kinds((seeds_dir / "stable-code.readme.md").read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("54.3%", "54.0%", "impossible"),
        ("24.0%", "25.0%", "impossible"),
        ("54.3%", "54.2%", "rounding"),
        ("54.3%", "54.29%", "rounding"),
    ],
)
@pytest.mark.data
def test_one_fault_in_a_corrected_card_is_found_on_its_line(card: str, old: str, new: str, kind: str) -> None:
    """A percentage that no count of 25 or 35 gives, a cut one, one with more digits: the first finding is that."""
    text = corrected(card)
    row = next(line for line in text.splitlines() if line.startswith("| Stable Code Instruct (DPO)  | 3B   | 24.0%"))
    line = text.splitlines().index(row) + 1
    assert kinds(text.replace(row, row.replace(old, new, 1)))[0] == (line, kind)


FRONT = """---
model-index:
- name: org/tiny-coder-1b
  results:
  - task: {type: text-generation}
    dataset: {type: nuprl/MultiPL-E, name: MultiPL-HumanEval (Python), config: humaneval-py, split: test}
    metrics:
    - {type: pass@1, value: 31.0}
  - task: {type: text-generation}
    dataset: {type: nuprl/MultiPL-E, name: MultiPL-HumanEval (Java), config: humaneval-java, split: test}
    metrics:
    - {type: pass@1, value: 0.29}
---
## Results
| Model | Python | Java |
|-------|--------|------|
| Tiny Coder 1B | 0.31 | 0.29 |
| Big Coder 7B | **0.52** | **0.46** |
"""


def test_front_matter_in_percent_agrees_with_a_table_of_fractions() -> None:
    """31.0 and 0.31 are one number, in two units."""
    assert kinds(FRONT) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("value: 31.0", "value: 32.0", [(8, "front_matter")]),
        ("value: 0.29", "value: 0.31", [(12, "front_matter")]),
        ("humaneval-java", "humaneval-py", [(6, "merged")]),
        ("    - {type: pass@1, value: 31.0}", "    - {type: pass@1, value: 31.0}\n" * 2, [(9, "merged")]),
        ("(Java), config: humaneval-java", "(Python), config: humaneval-py", [(12, "duplicate"), (12, "front_matter")]),
        ("| Big Coder 7B", "| Tiny Coder 1B", [(18, "duplicate")]),
        ("**0.46**", "0.46", [(18, "bold")]),
        ("| 0.29 |", "| **0.29** |", [(17, "bold")]),
        ("| **0.46** |", "| **0.5** |", [(18, "rounding")]),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_on_its_line(old: str, new: str, expected: list[tuple[int, str]]) -> None:
    """One planted fault at a time in a clean card."""
    assert FRONT.count(old) == 1
    assert kinds(FRONT.replace(old, new)) == expected


def test_a_table_with_its_own_row_in_bold_is_not_accused() -> None:
    """A table that prints its own model in bold marks no best, and is left alone."""
    text = "| Model | A | B |\n|---|---|---|\n| **Mine** | **0.1** | **0.2** |\n| Other | 0.3 | 0.4 |\n"
    assert kinds(text) == []


def test_the_best_perplexity_is_the_lowest() -> None:
    """The best perplexity is the least one."""
    text = "| Model | Acc | Perplexity |\n|---|---|---|\n| A | **0.9** | **3.1** |\n| B | 0.8 | 4.2 |\n"
    assert kinds(text) == []


def test_a_header_that_states_its_number_of_questions_is_held_to_it() -> None:
    """A header that states its n is held to it."""
    text = "| Model | Pass (n=50) |\n|---|---|\n| A | 51.0% |\n| B | 52.0% |\n"
    assert kinds(text) == [(3, "impossible")]


def test_an_average_that_nothing_explains_is_told_as_such() -> None:
    """An average beyond what unrounded values allow says so."""
    text = "| Model | A | B | Avg |\n|---|---|---|---|\n| M | 0.10 | 0.20 | 0.25 |\n"
    (finding,) = audit(text, KNOWN)
    assert (finding.line, finding.kind) == (3, "average")
    assert "no unrounded values explain it" in finding.message


def test_broken_front_matter_is_refused_with_its_line() -> None:
    """YAML that cannot be read is bad input with its line, not a card without metadata."""
    with pytest.raises(UsageError, match="line 3: the front matter cannot be read"):
        audit("---\na: [1\nb: {\n---\n", KNOWN)


BY_BENCHMARK = """| Benchmark | Mine 3B | Other 7B | Third 1B |
|---|---|---|---|
| MMLU | **50.1** | 49.0 | 48.2 |
| GSM8K | 0.312 | **0.402** | 0.101 |
| Perplexity | **4.11** | 5.20 | 6.01 |
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("**0.402**", "0.402", [(4, "bold")]),
        ("49.0", "49", [(3, "rounding")]),
        ("| MMLU |", "| Average |", [(3, "average"), (3, "average"), (3, "average")]),
    ],
)
def test_a_table_of_benchmarks_is_judged_row_by_row(old: str, new: str, expected: list[tuple[int, str]]) -> None:
    """Where rows are benchmarks, a row is compared with itself: its bold, its decimals, its average."""
    assert kinds(BY_BENCHMARK.replace(old, new, 1) if old else BY_BENCHMARK) == expected
