"""card, reproduce, explain and plan as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e_types import Command

CARD = "stable-code-instruct-3b.model-card.md"
README = "stable-code.readme.md"


def run_folder(path: Path, scores: dict[str, Any], **manifest: Any) -> Path:
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"model": "hf:stabilityai/stable-code-instruct-3b"} | manifest))
    (path / "scores.json").write_text(json.dumps(scores))
    return path


def pass_rates(**values: float) -> dict[str, Any]:
    counts = {"py": 161, "cpp": 161, "js": 161, "java": 158, "php": 161, "rs": 156}
    return {
        f"multipl_e/{name}": {"pass@1": {"value": value, "low": None, "high": None, "n": counts[name], "void": 0}}
        for name, value in values.items()
    }


@pytest.mark.data
def test_the_audit_fails_the_published_card_and_passes_a_clean_document(codecard: Command, seeds_dir: Path) -> None:
    """Exit 1 with rows of line, kind, message; a clean document exits 0 and prints an empty list."""
    done = codecard("card", "audit", seeds_dir / CARD, "--json")
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert all(set(row) == {"line", "kind", "message"} for row in rows)
    assert {"front_matter", "average", "rounding", "bold", "quoted", "merged"} == {row["kind"] for row in rows}
    clean = codecard("card", "audit", seeds_dir / README, "--json")
    assert (clean.returncode, json.loads(clean.stdout)) == (0, [])


@pytest.mark.data
def test_render_without_measurements_changes_no_byte(codecard: Command, seeds_dir: Path, tmp_path: Path) -> None:
    """Both documents come back byte for byte."""
    for name in (CARD, README):
        done = codecard("card", "render", seeds_dir / name, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_bytes() == (seeds_dir / name).read_bytes()


@pytest.mark.data
def test_the_hub_keeps_all_six_results_of_rendered_metadata(codecard: Command, seeds_dir: Path, tmp_path: Path) -> None:
    """Measured model-index entries get value, config, split and revision in place; the Hub's library keeps six."""
    from huggingface_hub import ModelCard

    run = run_folder(
        tmp_path / "RUN",
        pass_rates(py=0.5901, cpp=0.49, js=0.4899, java=0.44, php=0.45, rs=0.3701),
        profile={"name": "card-2024-03"},
    )
    done = codecard("card", "render", seeds_dir / CARD, "--with", run, "--out", tmp_path / "card.md")
    assert done.returncode == 0, done.stderr
    before, after = (seeds_dir / CARD).read_text(), (tmp_path / "card.md").read_text()
    data: Any = ModelCard(after).data
    results = data.eval_results
    assert [result.metric_value for result in results] == [59.0, 49.0, 44.0, 49.0, 45.0, 37.0]
    assert len({result.unique_identifier for result in results}) == 6
    kept = [
        line for line in after.splitlines() if not line.startswith(("      config:", "      split:", "      revision:"))
    ]
    changed = [(old, new) for old, new in zip(before.splitlines(), kept, strict=True) if old != new]
    assert len(changed) == 6
    assert all(old.startswith("      value:") for old, _ in changed)


@pytest.mark.data
def test_the_hub_reads_both_formats_of_a_model_index(codecard: Command, data_dir: Path, tmp_path: Path) -> None:
    """Both formats are written from a raw output and read by the Hub's own library."""
    from huggingface_hub import ModelCard, parse_eval_result_entries
    from ruamel.yaml import YAML

    raw = data_dir / "zero_shot" / "MPT-7B.json"
    done = codecard("card", "model-index", raw)
    data: Any = ModelCard(f"---\n{done.stdout}---\n# MPT\n").data
    assert data.model_name == "mosaicml/mpt-7b"
    assert [result.metric_value for result in data.eval_results][:3] == [41.89, 70.03, 73.94]
    assert len(data.eval_results) == 10
    newer = codecard("card", "model-index", raw, "--format", "eval-results", "--notes", "zero-shot")
    entries = parse_eval_result_entries(YAML(typ="safe").load(newer.stdout))
    assert [entry.value for entry in entries][:3] == [41.89, 70.03, 73.94]
    assert {entry.notes for entry in entries} == {"zero-shot"}
    few = run_folder(tmp_path / "RUN", {"multipl_e/py": {"pass@1": {"value": 1.0, "n": 5, "void": 0}}})
    refused = codecard("card", "model-index", few)
    assert refused.returncode == 2
    assert "measured whole" in refused.stderr


@pytest.mark.data
def test_raw_outputs_reproduce_every_number_of_the_readme(
    codecard: Command, seeds_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    """The README's 121 numbers are exact, and the page says what was assumed."""
    given = [part for file in sorted((data_dir / "zero_shot").glob("*.json")) for part in ("--with", file)]
    done = codecard("reproduce", seeds_dir / README, *given, "--json", "--out", tmp_path / "page.md")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["verdict"] for row in rows] == ["exact"] * 121
    page = (tmp_path / "page.md").read_text()
    assert "121 exact of 121 cells" in page
    assert "SIQA prompt: 346e2c22 (--siqa)" in page


@pytest.mark.data
def test_reproduce_says_how_a_run_differs_from_what_is_assumed(
    codecard: Command, seeds_dir: Path, tmp_path: Path
) -> None:
    """A run with one chat sample is judged, and its settings stand beside the assumed ones."""
    run = run_folder(
        tmp_path / "RUN", pass_rates(py=0.59), samples=1, suites=["multipl_e"], recipe={"prompt_style": "chat"}
    )
    done = codecard("reproduce", seeds_dir / CARD, "--with", run)
    assert done.returncode == 0, done.stderr
    assert "1 exact, 57 not attempted of 58 cells" in done.stdout
    assert "samples 1 (assumed 50), prompt chat (assumed raw)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["card", "audit", "missing.md"], "cannot read missing.md"),
        (["card", "render", "CARD", "--with", "missing"], "missing: no such run folder or raw output"),
        (["card", "render", "CARD", "--row", "nonsense"], "'nonsense': expected LABEL=MODEL"),
        (["card", "render", "CARD", "--model-index", "burn"], "keep, replace or drop"),
        (["reproduce", "CARD"], "no table that codecard knows"),
        (["explain", "strict", "card-2024-3", "rows.jsonl"], "did you mean 'card-2024-03'"),
        (["plan", "--suite", "sqll"], "did you mean 'sql'"),
    ],
)
def test_bad_input_is_told_in_one_line(codecard: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    """Exit 2 and one line that says what and where."""
    card, rows = tmp_path / "card.md", tmp_path / "rows.jsonl"
    card.write_text("# A card\n\n| A | B |\n|---|---|\n| x | 1 |\n")
    rows.write_text('{"task": "multipl_e/py", "problem": "HumanEval_0_x", "sample": 0, "completion": ""}\n')
    places = {"CARD": str(card), "rows.jsonl": str(rows)}
    done = codecard(*[places.get(part, part) for part in arguments])
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_plan_counts_problems_tokens_and_judge_requests(codecard: Command) -> None:
    """958 problems of 50 samples at 1,000 tokens a second; 20 judge requests; nothing is started."""
    done = codecard("plan", "--tokens-per-second", 1000, "--judge-price-in", 10, "--judge-price-out", 30, "--json")
    plans = {plan["suite"]: plan for plan in json.loads(done.stdout)}
    code = plans["multipl_e"]
    assert (code["questions"], code["requests"]) == (958, 47900)
    assert code["generate_s"] == pytest.approx(code["new_tokens"] / 1000)
    assert code["new_tokens"] <= code["new_tokens_at_most"] == 47900 * 512
    assert (plans["sql"]["requests"], plans["mt_bench"]["judge_requests"]) == (200, 20)
    assert plans["mt_bench"]["judge_cost"] == pytest.approx((20 * 1600 * 10 + 20 * 250 * 30) / 1e6)
    assert plans["zero_shot"]["questions"] == 28389
    assert 0.03 < code["detectable"] < 0.05
    one = json.loads(codecard("plan", "--suite", "multipl_e", "--samples", 1, "--json").stdout)[0]
    assert one["generate_s"] is None
    assert one["detectable"] > code["detectable"]


@pytest.mark.data
@pytest.mark.docker
def test_explained_steps_sum_to_the_total(
    codecard: Command, data_dir: Path, docker_engine: None, tmp_path: Path
) -> None:
    """strict against card-2024-03 on real completions: an early exit, a javatuples program, a plain pass."""
    wanted = {
        "php": [("gpt", "HumanEval_0_has_close_elements"), ("gptfree", "HumanEval_0_has_close_elements")],
        "java": [("gpt", "HumanEval_0_has_close_elements"), ("gptfree", "HumanEval_8_sum_product")],
    }
    files = []
    for language, chosen in wanted.items():
        lines = (data_dir / "completions" / f"reference.{language}.jsonl").read_text().splitlines()
        kept = [line for line in lines if (json.loads(line)["set"], json.loads(line)["problem"]) in chosen]
        assert len(kept) == len(chosen)
        files.append(tmp_path / f"reference.{language}.jsonl")
        files[-1].write_text("\n".join(kept) + "\n")
    done = codecard("explain", "strict", "card-2024-03", *files, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["void"]) == (4, 0)
    for task, total in found["total"].items():
        assert sum(step["delta"][task] for step in found["steps"]) == pytest.approx(total, abs=1e-12)
        assert total == pytest.approx(found["last"][task] - found["first"][task])
    by_step = {step["step"]: step for step in found["steps"]}
    assert by_step["early-exit rule"]["delta"]["multipl_e/php"] > 0
    assert by_step["toolchain"]["delta"]["multipl_e/java"] < 0
    assert by_step["stop words"]["delta"]["multipl_e/php"] == 0
