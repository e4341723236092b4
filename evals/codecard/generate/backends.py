"""Who asks a model: the backends by name, each behind one line, and those that installed packages add.

A backend is the callable `open_model(spec, opening) -> Generator` of its adapter's module. One of the user's own is
named by the entry point `codecard.generators` (the entry's name is the prefix: `mine:…`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from codecard.model import UsageError
from codecard.settings import MODEL_FORMS, ModelSpec
from codecard.text import unknown

if TYPE_CHECKING:
    from codecard.cluster import Cluster
    from codecard.generate.port import Generator

ENTRY_POINTS = "codecard.generators"
BACKENDS = {
    "hf": "codecard.generate.transformers_",
    "hf-naive": "codecard.generate.transformers_",
    "vllm": "codecard.generate.vllm_",
    "openai": "codecard.generate.openai_",
    "lm-eval": "codecard.generate.lm_eval_generator",
    "replay": "codecard.generate.replay",
}
FROM_HERE = ("openai", "replay")  # reached from this process even where a cluster does the work


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a model is opened; None leaves the choice to the backend. `batch_size`: rows at once, or requests under way
    at a server. `base_url` belongs to a server alone. With a `cluster` its nodes are asked."""

    dtype: str | None = None
    device: str | None = None
    batch_size: int | None = None
    base_url: str | None = None
    cluster: Cluster | None = None


def open_generator(model: str | ModelSpec, opening: Opening | None = None, **given: Any) -> Generator:
    """The model that a `--model` value names, ready to be asked; `given` are fields of `Opening`. Raises UsageError for
    an unknown form or a model that cannot be had, InfrastructureError for a missing package."""
    spec = ModelSpec.parse(model) if isinstance(model, str) else model
    opening = replace(opening or Opening(), **given)
    if opening.base_url is not None and spec.backend in BACKENDS and spec.backend != "openai":
        raise UsageError(f"model {spec.text!r} has no base URL; it belongs to openai:NAME")
    if opening.batch_size is not None and opening.batch_size < 1:
        raise UsageError(f"batch size must be at least 1, not {opening.batch_size}")
    made: Generator
    if opening.cluster is not None and spec.backend not in FROM_HERE:
        made = import_module("codecard.generate.ray_").RayGenerator(opening.cluster, spec.text, opening)
    elif spec.backend in BACKENDS:
        made = import_module(BACKENDS[spec.backend]).open_model(spec, opening)
    else:
        added = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if spec.backend not in added:
            why = unknown("backend", spec.backend, [*BACKENDS, *added])
            raise UsageError(f"model {spec.text!r}: {why}; expected {MODEL_FORMS}")
        made = added[spec.backend].load()(spec, opening)
    return made


def locate(spec: ModelSpec) -> tuple[str, str | None, str]:
    """Folder or Hub id, Hub revision, and the name that results show, of a model whose weights are loaded here."""
    if spec.embedded:
        from codecard.generate.embedded import NAME, embedded_folder

        return str(embedded_folder()), None, NAME
    if not spec.here:
        raise UsageError(f"model {spec.text!r}: its weights are not loaded here")
    return spec.name, spec.revision, spec.name
