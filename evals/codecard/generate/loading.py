"""A transformers model and its tokenizer from a folder or the Hub, or one clear line why not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import InfrastructureError, UsageError
from codecard.settings import dtype_name

_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
"""Tokens that well-known chat templates close a turn with; they end a row if the template writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to be asked. `revision` is the Hub's commit, or `sha256:` of a folder's files."""

    model: Any
    tokenizer: Any
    name: str
    revision: str
    dtype: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint that exists: a folder, or a Hub id at a commit. `offline`: why the Hub cannot be asked, or empty."""

    model: str
    revision: str | None = None
    offline: str = ""

    def version(self, config: Any) -> str:
        """The folder's hash or the Hub's commit; `config` is the loaded one, which knows a cached commit."""
        folder = Path(self.model)
        if folder.is_dir():
            return folder_hash(folder)
        return str(getattr(config, "_commit_hash", None) or self.revision or "unknown")


def find(model: str, revision: str | None = None) -> Source:
    """The checkpoint that a folder or a Hub id names; `UsageError` if it is none."""
    folder = Path(model)
    if folder.is_dir():
        _check_folder(folder)
        return Source(model=model)
    commit, offline = _pin(model, revision)
    return Source(model=model, revision=commit, offline=offline)


def tokenizer_of(source: Source) -> Any:
    _, transformers = libraries()
    return _from_pretrained(transformers.AutoTokenizer, source.model, source.offline, revision=source.revision)


def load(model: str, *, revision: str | None = None, dtype: str | None = None, device: str | None = None) -> Loaded:
    """Load `model`, a folder or a Hub id. bfloat16 on a GPU and float32 on a CPU unless told otherwise.

    Code that comes with a model is never run (`trust_remote_code` stays off).
    """
    torch, transformers = libraries()
    device = _device(torch, device)
    dtype = dtype_of(dtype, device)
    source = find(model, revision)
    tokenizer = tokenizer_of(source)
    network, report = _from_pretrained(
        transformers.AutoModelForCausalLM,
        model,
        source.offline,
        revision=source.revision,
        dtype=getattr(torch, dtype),
        output_loading_info=True,
    )
    _check_complete(model, report)
    network = network.to(device).eval()
    return Loaded(
        model=network,
        tokenizer=tokenizer,
        name=model,
        revision=source.version(network.config),
        dtype=dtype,
        device=device,
    )


def libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise InfrastructureError(f"running a model here needs {error.name}: pip install 'codecard[hf]'") from error
    log: Any = transformers.utils.logging
    log.set_verbosity_error()
    log.disable_progress_bar()
    if "OMP_NUM_THREADS" not in os.environ:
        # One core is left to whatever runs the programs meanwhile: where threads outnumber free cores they
        # wait for each other spinning, and a two-core machine was seen to decode 20 times slower.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    return torch, transformers


def _device(torch: Any, device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}; use cpu, cuda or cuda:N") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InfrastructureError(
            f"device {device!r}: this PyTorch sees no CUDA GPU; use --device cpu or install a CUDA build"
        )
    return device


def dtype_of(dtype: str | None, device: str) -> str:
    """torch's name of a data type; None: bfloat16 on a GPU, float32 on a CPU."""
    return dtype_name(dtype) if dtype else "bfloat16" if device.startswith("cuda") else "float32"


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UsageError(f"model folder {folder}: no config.json, so this is no transformers checkpoint")
    if not any(_weights(folder)):
        raise UsageError(f"model folder {folder}: no weights (*.safetensors or pytorch_model*.bin)")


def _weights(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])


def _from_pretrained(auto: Any, model: str, offline: str = "", **options: Any) -> Any:
    """The tokenizer or the model; `offline` says why the Hub cannot be asked, so that only its cache is."""
    part = "tokenizer" if "Tokenizer" in auto.__name__ else "model"
    try:
        return auto.from_pretrained(model, local_files_only=bool(offline), **options)
    except Exception as error:  # foreign code over foreign files: many kinds, one meaning
        if isinstance(error, MemoryError):
            raise
        cause = _line(error)
        if Path(model).is_dir():
            raise UsageError(f"model folder {model}: cannot load the {part}: {cause}") from error
        if offline:
            raise UsageError(
                f"hf:{model}: the Hub cannot be reached ({offline}) and the {part} is not in its local cache; "
                "download the model where there is a network, or pass a folder as --model"
            ) from error
        raise UsageError(
            f"hf:{model}: cannot load the {part}: {cause}; check the name, and for a gated model HF_TOKEN"
        ) from error


def _pin(model: str, revision: str | None) -> tuple[str | None, str]:
    """The commit that `revision` stands for, and why the Hub cannot be reached (empty where it can).

    Asked once before anything is loaded: so tokenizer and weights are of one commit, and a machine without a
    network does not wait for the many retries of each file.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return HfApi().model_info(model, revision=revision, timeout=20).sha, ""
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise UsageError(
                f"hf:{model}: the Hub has no such model or revision, or it is private (then set HF_TOKEN)"
            ) from error
        return revision, _line(error)
    except Exception as error:  # the HTTP client's many kinds of no connection
        return revision, _line(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_complete(model: str, report: Any) -> None:
    """transformers fills tensors that a checkpoint lacks with random numbers and goes on; we do not."""
    absent = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    if absent:
        raise UsageError(
            f"model {model}: {len(absent)} tensors are missing or of another shape, the first is {absent[0]}"
        )


def folder_hash(folder: Path) -> str:
    """`sha256:` and 16 hex digits over config, tokenizer and weights: a retrained folder is another model."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *_weights(folder)]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def eos_ids(loaded: Loaded) -> frozenset[int]:
    """Every token that ends a row of a loaded model."""
    return end_tokens(loaded.tokenizer, loaded.model.generation_config, loaded.model.config)


def end_tokens(tokenizer: Any, *configs: Any) -> frozenset[int]:
    """Every token that ends a row: the configs', the tokenizer's, and the chat template's own."""
    ids: set[int] = set()
    for config in configs:
        given = getattr(config, "eos_token_id", None)
        ids.update(given if isinstance(given, (list, tuple)) else [] if given is None else [given])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    template = tokenizer.chat_template
    vocabulary = tokenizer.get_added_vocab()
    ids.update(vocabulary[t] for t in _END_OF_TURN if t in vocabulary and t in str(template or ""))
    return frozenset(ids)
