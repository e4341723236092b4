"""OpenAI-compatible servers of other projects, started on loopback over a checkpoint folder."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

START_S = 240


def transformers_serve(folder: Path, port: int) -> list[str]:
    """`transformers serve`: completions and chat, one request at a time."""
    start = "from transformers.cli.transformers import main; main()"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-c", start, "serve", str(folder), *where, "--device", "cpu", "--dtype", "float32"]


def vllm_server(python: str, folder: Path, port: int) -> list[str]:
    """vLLM's own server, of the environment that `python` belongs to."""
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", str(folder)]
    how = ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8", "--generation-config", "vllm"]
    return [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *where, *how]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[str]:
    """The base URL of a server that answers; its output goes to `log`. Ended, with its children, at the end."""
    settings = {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    pause = threading.Event()
    for _ in range(START_S * 5):
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        pause.wait(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")
