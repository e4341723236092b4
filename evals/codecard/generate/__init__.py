"""Asking a model: the port and its adapters. torch and transformers are imported only when one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codecard.generate.port import GenerationRequest, Generator, Message
from codecard.model import UsageError

if TYPE_CHECKING:
    from codecard.cluster import Cluster

__all__ = ["GenerationRequest", "Generator", "Message", "locate", "open_generator"]

_FORMS = (
    "hf:ORG/NAME[@REVISION], hf-naive:…, a folder, embedded, vllm:…, openai:NAME, lm-eval:TYPE[,ARGUMENTS] "
    "or replay:FILE"
)


def open_generator(
    spec: str,
    *,
    dtype: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    base_url: str | None = None,
    cluster: Cluster | None = None,
) -> Generator:
    """The model that `spec` names.

    `hf:ORG/NAME[@REVISION]`, a checkpoint folder, `embedded`; `hf-naive:` (one prompt at a time, the library's own
    way) or `vllm:` before an ORG/NAME[@REVISION], a folder or `embedded`; `openai:NAME` at `base_url`;
    `lm-eval:TYPE[,ARGUMENTS]`; `replay:FILE`.
    `dtype`, `batch_size` and `device` None leave the choice to the backend; for a server `batch_size` is the
    number of requests under way at a time. With a `cluster` its nodes are asked, but for recordings and servers,
    which are reached from here. `UsageError` for an unknown form,
    a folder that is no checkpoint or a model that cannot be fetched; `InfrastructureError` for a missing
    package.
    """
    if spec.startswith("replay:"):
        from codecard.generate.replay import ReplayGenerator

        return ReplayGenerator(Path(spec.removeprefix("replay:")))
    if spec.startswith("openai:"):
        from codecard.generate.openai_ import OpenAIGenerator

        return OpenAIGenerator(spec.removeprefix("openai:"), base_url=base_url, workers=batch_size)
    if base_url is not None:
        raise UsageError(f"model {spec!r} has no base URL; it belongs to openai:NAME")
    if cluster is not None:
        from codecard.generate.ray_ import RayGenerator

        return RayGenerator(cluster, spec, {"dtype": dtype, "batch_size": batch_size, "device": device})
    return _open_here(spec, dtype, batch_size, device)


def _open_here(spec: str, dtype: str | None, batch_size: int | None, device: str | None) -> Generator:
    """A model that is loaded in this process."""
    if spec.startswith("lm-eval:"):
        from codecard.generate.lm_eval_generator import LmEvalGenerator

        return LmEvalGenerator(spec.removeprefix("lm-eval:"), dtype=dtype, device=device, batch_size=batch_size)
    if spec.startswith("vllm:"):
        if device is not None:
            raise UsageError(f"model {spec!r}: vLLM runs on the device that it was built for; give no device")
        model, revision, name = locate(_inner(spec.removeprefix("vllm:")))
        from codecard.generate.vllm_ import VllmGenerator

        return VllmGenerator(model, revision=revision, dtype=dtype, batch_size=batch_size, name=name)
    if spec.startswith("hf-naive:"):
        model, revision, name = locate(_inner(spec.removeprefix("hf-naive:")))
        from codecard.generate.naive import NaiveGenerator

        return NaiveGenerator(model, revision=revision, dtype=dtype, device=device, batch_size=1, name=name)
    model, revision, name = locate(spec)
    from codecard.generate.transformers_ import TransformersGenerator

    return TransformersGenerator(model, revision=revision, dtype=dtype, device=device, batch_size=batch_size, name=name)


def _inner(spec: str) -> str:
    """What follows `vllm:` or `hf-naive:` as a form of its own; a bare ORG/NAME is the Hub's."""
    known = spec == "embedded" or spec.startswith("hf:") or Path(spec).exists()
    return spec if known else f"hf:{spec}"


def locate(spec: str) -> tuple[str, str | None, str]:
    """Folder or Hub id, Hub revision, and the name that results show."""
    if spec == "embedded":
        from codecard.generate.embedded import NAME, embedded_folder

        return str(embedded_folder()), None, NAME
    if spec.startswith("hf:"):
        repository, _, revision = spec.removeprefix("hf:").partition("@")
        if not repository or repository.count("/") > 1:
            raise UsageError(f"model {spec!r}: expected hf:ORG/NAME or hf:ORG/NAME@REVISION")
        return repository, revision or None, repository
    if spec and Path(spec).is_dir():
        return spec, None, spec
    if spec and Path(spec).exists():
        raise UsageError(f"model {spec!r} is a file; expected {_FORMS}")
    raise UsageError(f"model {spec!r} is neither a folder nor a known form; expected {_FORMS}")
