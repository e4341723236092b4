"""The zero-shot suite through the real lm-eval and the real embedded model, offline, on small data sets."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from codecard import api as codecard_api
from codecard.model import InfrastructureError, UsageError
from codecard.paths import tasks_dir
from codecard.runs.measured import read_measurements
from codecard.runs.reading import Run
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.zero_shot.tasks import load_tasks
from e2e_types import Command
from zero_shot_data import DOCUMENTS, write_data

pytestmark = pytest.mark.xdist_group("zero-shot")  # one run for all
Row = dict[str, Any]
TEN = load_tasks(tasks_dir() / "zero_shot")

STOCK = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "truthfulqa": "truthfulqa/truthfulqa_mc2.yaml",
    "winogrande": "winogrande/default.yaml",
}


@pytest.fixture(scope="module")
def model_folder() -> str:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("no lm-eval; remedy: pip install 'codecard[zero-shot]'")
    from codecard.generate.embedded import embedded_folder

    try:
        return str(embedded_folder())
    except InfrastructureError as error:
        pytest.skip(str(error))


def ask(out: Path, data: Path, told: list[str] | None = None) -> Run:
    """The suite again; `told` hears the lines of progress."""
    lines: list[str] = [] if told is None else told
    return codecard_api.run(
        model="embedded", suite="zero_shot", limit=50, dtype="float32", data_dir=str(data), out=str(out),
        progress=lines.append,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_folder: str, codecard: Command) -> Path:
    """A run of all ten tasks, made once by the command itself, without a network."""
    data = tmp_path_factory.mktemp("data")
    write_data(data / "zero_shot")
    out = data / "RUN"
    done = codecard(
        "run", "--suite", "zero_shot", "--model", "embedded", "--limit", 50, "--dtype", "float32",
        "--data-dir", data, "--out", out, env={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def direct(model_folder: str, data: Path, scratch: Path) -> dict[str, Any]:
    """lm-eval called directly: its own command's arguments, its own YAML to put local files under a task."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    tasks_root = Path(lm_eval.__file__).parent / "tasks"
    for task in TEN:
        stock = tasks_root / STOCK[task.name] if task.name in STOCK else tasks_dir() / "zero_shot" / f"{task.task}.yaml"
        text = (
            f"include: {stock}\ntask: {task.task}\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs: {{data_files: {{{task.split}: {data / 'zero_shot' / (task.name + '.jsonl')}}}}}\n"
            f"training_split: null\n{task.split}_split: {task.split}\n"
            f"{'validation' if task.split == 'test' else 'test'}_split: null\n"
        )
        (scratch / f"{task.name}.yaml").write_text(text)
    result = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": model_folder, "dtype": "float32", "add_bos_token": False},
        tasks=[task.task for task in TEN],
        num_fewshot=0,
        batch_size=8,
        limit=50,
        device="cpu",
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(scratch)),
    )
    return dict(result["results"])


@pytest.mark.embedded
def test_zero_shot_numbers_equal_lm_evals_own(run: Path, model_folder: str, tmp_path: Path) -> None:
    """All ten numbers of the run folder are those that lm-eval gives when called directly."""
    scores = json.loads((run / "scores.json").read_text())
    expected = direct(model_folder, run.parent, tmp_path)
    for task in TEN:
        (metric,) = scores[task.key].values()
        assert metric["value"] == pytest.approx(expected[task.task][f"{task.metric},none"], abs=1e-6), task.name
        assert metric["n"] == DOCUMENTS
    mean = sum(expected[task.task][f"{task.metric},none"] for task in TEN) / 10
    assert scores["zero_shot/average"]["mean"]["value"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.embedded
def test_a_finished_task_is_not_asked_again_and_other_data_are_refused(run: Path) -> None:
    """The same run again asks nothing; a changed data file is another benchmark, and the task is named."""
    before = (run / "scores.json").read_text()
    told: list[str] = []
    ask(run, run.parent, told)
    assert "zero_shot: 0 completions to generate, 0 to execute" in told
    assert (run / "scores.json").read_text() == before
    file = run.parent / "zero_shot" / "piqa.jsonl"
    kept = file.read_text()
    try:
        file.write_text(kept.splitlines()[0] + "\n")
        with pytest.raises(UsageError, match=r"another data.zero_shot/piqa"):
            ask(run, run.parent)
    finally:
        file.write_text(kept)


@pytest.mark.embedded
def test_a_run_and_its_raw_output_agree(run: Path) -> None:
    """The run folder and lm-eval's own output inside it are read as the same numbers."""
    from_run = {m.task: m.estimate.value for m in read_measurements([run]) if m.metric != "mean"}
    from_raw = {m.task: m.estimate.value for m in read_measurements([run / "lm_eval.json"])}
    assert from_raw == pytest.approx(from_run)


@pytest.mark.embedded
def test_a_data_file_of_another_schema_is_refused_by_its_task(tmp_path: Path, model_folder: str) -> None:
    """A file that lacks a column is bad input that names the task, and the tasks without a file are said."""
    (tmp_path / "zero_shot").mkdir()
    (tmp_path / "zero_shot" / "piqa.jsonl").write_text('{"question": "?"}\n')
    with pytest.raises(UsageError, match="no data for piqa"):
        ask(tmp_path / "RUN", tmp_path)


def test_no_token_is_put_before_the_prompt() -> None:
    """The default is the old harness's."""
    assert find_suite("zero_shot").configured(load_profile("card-2024-03")).add_bos is False


def test_our_siqa_prompt_is_the_one_that_the_readme_quotes() -> None:
    """The prompt is the one the README quotes, not the stock task's."""
    text = (tasks_dir() / "zero_shot" / "siqa_stability.yaml").read_text()
    assert 'doc_to_text: "{{context}}\\nQuestion: {{question}}\\nAnswer:"' in text
