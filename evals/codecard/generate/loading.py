"""A transformers model and its tokenizer from a folder or the Hub, or one clear line why not."""

from __future__ import annotations

import gc
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import InfrastructureError, UsageError
from codecard.settings import dtype_name
from codecard.text import first_line

_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
"""Tokens that well-known chat templates close a turn with; they end a row if the template writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to be asked. `revision` is the Hub's commit, or `sha256:` of a folder's files."""

    model: Any
    tokenizer: Any
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
        if Path(self.model).is_dir():
            return folder_hash(Path(self.model))
        return str(getattr(config, "_commit_hash", None) or self.revision or "unknown")


def find(model: str, revision: str | None = None) -> Source:
    """The checkpoint that a folder or a Hub id names; `UsageError` if it is none."""
    folder = Path(model)
    if not folder.is_dir():
        return _pinned(model, revision)
    if not (folder / "config.json").is_file():
        raise UsageError(f"model folder {folder}: no config.json, so this is no transformers checkpoint")
    if not any(_weights(folder)):
        raise UsageError(f"model folder {folder}: no weights (*.safetensors or pytorch_model*.bin)")
    return Source(model=model)


def tokenizer_of(source: Source) -> Any:
    _, transformers = libraries()
    return _from_pretrained(transformers.AutoTokenizer, source)


def load(model: str, *, revision: str | None = None, dtype: str | None = None, device: str | None = None) -> Loaded:
    """Load `model`, a folder or a Hub id, in the type that `dtype_of` says. Code that comes with a model is never run
    (`trust_remote_code` stays off)."""
    torch, transformers = libraries()
    device = _device(torch, device)
    dtype = dtype_of(dtype, device)
    source = find(model, revision)
    tokenizer = tokenizer_of(source)
    network, report = _from_pretrained(
        transformers.AutoModelForCausalLM, source, dtype=getattr(torch, dtype), output_loading_info=True
    )
    # transformers fills tensors that a checkpoint lacks with random numbers and goes on; we do not.
    absent = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    if absent:
        first = f"the first is {absent[0]}"
        raise UsageError(f"model {model}: {len(absent)} tensors are missing or of another shape, {first}")
    network, commit = network.to(device).eval(), source.version(network.config)
    return Loaded(model=network, tokenizer=tokenizer, revision=commit, dtype=dtype, device=device)


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
        why = "this PyTorch sees no CUDA GPU; use --device cpu or install a CUDA build"
        raise InfrastructureError(f"device {device!r}: {why}")
    return device


def dtype_of(dtype: str | None, device: str) -> str:
    """torch's name of a data type; None: bfloat16 on a GPU, float32 on a CPU."""
    return dtype_name(dtype) if dtype else "bfloat16" if device.startswith("cuda") else "float32"


def free(device: str) -> None:
    """Give back what memory of the device nothing holds any more."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def device_name(device: str) -> str:
    """As a fingerprint has it; the instructions that a CPU computes with decide the last bits."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else device


def _weights(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])


def _from_pretrained(auto: Any, source: Source, **options: Any) -> Any:
    """The tokenizer or the model, out of the local cache alone where the Hub cannot be asked."""
    part = "tokenizer" if "Tokenizer" in auto.__name__ else "model"
    model, offline = source.model, source.offline
    try:
        return auto.from_pretrained(model, revision=source.revision, local_files_only=bool(offline), **options)
    except MemoryError:
        raise
    except Exception as error:  # foreign code over foreign files: many kinds, one meaning
        cause = first_line(error, 300)
        if Path(model).is_dir():
            why = f"model folder {model}: cannot load the {part}: {cause}"
        elif offline:
            why = (
                f"hf:{model}: the Hub cannot be reached ({offline}) and the {part} is not in its local cache; "
                "download the model where there is a network, or pass a folder as --model"
            )
        else:
            why = f"hf:{model}: cannot load the {part}: {cause}; check the name, and for a gated model HF_TOKEN"
        raise UsageError(why) from error


def _pinned(model: str, revision: str | None) -> Source:
    """A Hub id at the commit that `revision` stands for, asked once before anything is loaded: so tokenizer and weights
    are of one commit, and a machine without a network does not wait for the many retries of each file."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Source(model=model, revision=HfApi().model_info(model, revision=revision, timeout=20).sha)
    except Exception as error:  # the HTTP client's many kinds of no connection
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            why = "the Hub has no such model or revision, or it is private (then set HF_TOKEN)"
            raise UsageError(f"hf:{model}: {why}") from error
        return Source(model=model, revision=revision, offline=first_line(error, 300))


def folder_hash(folder: Path) -> str:
    """`sha256:` and 16 hex digits over config, tokenizer and weights: a retrained folder is another model."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *_weights(folder)]):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def end_tokens(tokenizer: Any, *configs: Any) -> frozenset[int]:
    """Every token that ends a row: the configs', the tokenizer's, and the chat template's own."""
    ids: set[int] = set()
    for owner in (tokenizer, *configs):
        given = getattr(owner, "eos_token_id", None)
        ids.update(given if isinstance(given, (list, tuple)) else [] if given is None else [given])
    template, vocabulary = str(tokenizer.chat_template or ""), tokenizer.get_added_vocab()
    ids.update(vocabulary[token] for token in _END_OF_TURN if token in vocabulary and token in template)
    return frozenset(ids)
