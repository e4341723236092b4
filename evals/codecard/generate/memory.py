"""Running out of memory while a model is asked: how it shows, and what is done about it."""

from __future__ import annotations

from codecard.model import InfrastructureError


def shortage(error: BaseException) -> str:
    """What `error` says, if it says that memory ran out; raised again if it is anything else."""
    import torch

    text = " ".join(str(error).split())[:200] or type(error).__name__
    host = any(words in text.lower() for words in ("can't allocate memory", "not enough memory", "bad_alloc"))
    if not host and not isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        raise error
    return text


def fewer(rows: int, failure: str, device: str) -> int:
    """How many rows to try where `rows` were too many. `InfrastructureError` if that was a single one."""
    free(device)
    if rows <= 1:
        raise InfrastructureError(
            f"out of memory with a single row: {failure}; use a smaller --dtype or model, a lower length "
            "limit, or a device with more memory"
        )
    return rows // 2


def free(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
