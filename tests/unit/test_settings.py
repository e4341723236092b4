"""One reading of a model's name, of a profile and of a run's configuration, wherever they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codecard.model import UsageError
from codecard.settings import ModelSpec, RunConfig, load_profile
from codecard.suites import find_suite


@pytest.mark.parametrize(
    ("text", "backend", "name", "revision", "here"),
    [
        ("hf:org/name", "hf", "org/name", None, True),
        ("hf:org/name@main", "hf", "org/name", "main", True),
        ("hf:gpt2", "hf", "gpt2", None, True),
        ("embedded", "hf", "embedded", None, True),
        ("vllm:embedded", "vllm", "embedded", None, True),
        ("vllm:hf:org/name@rev", "vllm", "org/name", "rev", True),
        ("vllm:org/name", "vllm", "org/name", None, True),
        ("openai:gpt-4o", "openai", "gpt-4o", None, False),
        ("replay:some/file.jsonl", "replay", "some/file.jsonl", None, False),
        ("lm-eval:hf,pretrained=x", "lm-eval", "hf,pretrained=x", None, False),
        ("mine:a@b", "mine", "a@b", None, False),
    ],
)
def test_a_models_name_is_read_one_way(text: str, backend: str, name: str, revision: str | None, here: bool) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.backend, spec.name, spec.revision, spec.here) == (backend, name, revision, here)
    assert spec.text == text


def test_a_folder_is_a_model_with_and_without_a_backend(tmp_path: Path) -> None:
    assert ModelSpec.parse(str(tmp_path)).source == "folder"
    assert ModelSpec.parse(f"vllm:{tmp_path}").source == "folder"


@pytest.mark.parametrize("text", ["", "hf:", "openai:", "no/such/folder", "hf:a/b/c", "vllm:"])
def test_what_names_no_model_is_refused_with_the_forms_that_do(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        ModelSpec.parse(text)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_is_given_goes_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "run.toml", 'model = "embedded"\nsuites = ["sql"]\nlimit = 3\n[set.sql]\nrobust = true\n')
    config = RunConfig.merged(file, {"limit": 5, "samples": None, "set": {"sql": {"num_columns": 20}}})
    assert (config.model, config.suites, config.limit, config.samples) == ("embedded", ["sql"], 5, None)
    assert config.set == {"sql": {"robust": True, "num_columns": 20}}
    assert RunConfig.merged(None, config.model_dump(exclude_none=True)) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "x"', "did you mean 'model'?"),
        ("limit = 0", "--limit 0"),
        ('temperature = "hot"', "--temperature hot"),
        ('prompt_style = "poem"', "--prompt-style poem"),
        ("limit = ", "Invalid value"),
    ],
)
def test_a_bad_configuration_is_one_line_that_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")) as refused:
        RunConfig.merged(write(tmp_path / "run.toml", text), {})
    assert len(str(refused.value).splitlines()) == 1


PROFILE = 'name = "mine"\nsummary = "ours"\n[code]\nsamples = 3\ntemperature = 0.5\n[starter]\nsamples = 7\n'


def test_a_profile_of_ones_own_is_a_file_whose_sections_go_from_the_kind_to_the_suite(tmp_path: Path) -> None:
    profile = load_profile(str(write(tmp_path / "mine.toml", PROFILE)))
    assert find_suite("multipl_e").configured(profile).samples == 3
    assert find_suite("starter").configured(profile).samples == 7
    assert find_suite("starter").configured(profile, {"samples": "2"}).samples == 2
    assert find_suite("starter").configured(profile).temperature == 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("samples = 3", "sample = 3"), "did you mean 'samples'?"),
        (("temperature = 0.5", "temperature = -1"), "temperature -1"),
        (("temperature = 0.5", 'deadline = "never"'), "deadline 'never'"),
        (('name = "mine"', 'nmae = "mine"'), "'nmae' is missing or not known"),
    ],
)
def test_a_bad_profile_is_one_line_that_names_file_section_and_option(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    file = write(tmp_path / "mine.toml", PROFILE.replace(*change))
    with pytest.raises(UsageError) as refused:
        find_suite("multipl_e").configured(load_profile(str(file)))
    assert words in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("given", [{"robust": "maybe"}, {"timeout_s": 0}, {"comparer": "kind"}, {"nothing": 1}])
def test_an_option_that_its_type_does_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--set: "):
        find_suite("sql").configured(load_profile("strict"), given)
