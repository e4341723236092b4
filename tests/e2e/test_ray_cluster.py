"""A run over the nodes of a Ray cluster: the same completions and scores as in one process, also when a node dies."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e_types import CODECARD, Command
from folders import read_executions, read_manifest, read_rows, read_scores, sample_of

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.docker, pytest.mark.embedded, pytest.mark.data]
ASKED = ["run", "--model", "embedded", "--suite", "multipl_e", "--languages", "py,php", "--limit", "6", "--samples",
         "2", "--temperature", "0.8", "--max-new-tokens", "12", "--out"]  # fmt: skip
ROWS = 24
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",  # of any number of threads, but the same one everywhere
    "PYTHONUNBUFFERED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_health_check_period_ms": "500",  # a dead node is known as dead after two seconds, not after half a minute
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


@pytest.fixture(scope="module", autouse=True)
def parts(absent: Callable[[str, str], None], docker_engine: None, data_dir: Path) -> None:
    """ray and the embedded model, besides the engine and the data."""
    from codecard.generate.embedded import embedded_folder
    from codecard.model import InfrastructureError

    try:
        import grpc  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        absent(f"no {error.name}", "pip install 'codecard[ray]'")
    try:
        embedded_folder()
    except InfrastructureError as error:
        absent("no embedded model", str(error))


@pytest.fixture(scope="module")
def alone(parts: None, codecard: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = codecard(*ASKED, out, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return out


@dataclass(frozen=True)
class Nodes:
    """A head and another node: their process groups, and the ports of the cluster and of its client server."""

    head: int
    other: int
    port: int
    client_port: int


def free_port() -> int:
    """Below the range from which the system, and so Ray's other services, picks ports."""
    for port in random.sample(range(20000, 30000), 50):
        with suppress(OSError), closing(socket.socket()) as found:
            found.bind(("", port))
            return port
    raise AssertionError("no free port")


@contextmanager
def node(folder: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """One node, in a process group of its own, its output in the folder; ended with all that it started."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--temp-dir", folder,
               "--include-log-monitor=false", "--object-store-memory=100000000", *options]  # fmt: skip
    with (Path(folder) / "node.log").open("w") as log:
        process = subprocess.Popen(
            command, start_new_session=True, stdout=log, stderr=log, text=True, env=ENVIRONMENT, cwd=folder
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(parts: None) -> Iterator[Nodes]:
    """Two nodes on this machine, one core each. Their sockets need a folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as a, tempfile.TemporaryDirectory(dir="/tmp") as b:
        port, client_port = free_port(), free_port()
        head = ("--head", f"--port={port}", f"--ray-client-server-port={client_port}", "--include-dashboard=false",
                "--min-worker-port=0", "--max-worker-port=0")  # fmt: skip
        with node(a, *head) as first:
            await_start(first, Path(a) / "node.log")
            address = f"--address={socket.gethostbyname(socket.gethostname())}:{port}"
            with node(b, address, "--min-worker-port=0", "--max-worker-port=0") as second:
                await_start(second, Path(b) / "node.log")
                yield Nodes(head=first.pid, other=second.pid, port=port, client_port=client_port)


def await_start(process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        threading.Event().wait(0.2)


def assert_same(run: Path, alone: Path) -> None:
    """Every row there, none twice; completions byte for byte, verdicts, scores and what decided them."""
    for name in ("completions.jsonl", "executions.jsonl"):
        rows = [(row["task"], row["problem"], row["sample"]) for row in read_rows(run / name)]
        assert len(rows) == len(set(rows)) == ROWS, name
    kept = ("answer", "completion", "finish_reason", "new_tokens")
    texts = [
        {sample_of(row): [row.get(name) for name in kept] for row in read_rows(path / "completions.jsonl")}
        for path in (run, alone)
    ]
    assert texts[0] == texts[1]
    verdicts = [{key: row["verdict"] for key, row in read_executions(path).items()} for path in (run, alone)]
    assert verdicts[0] == verdicts[1]
    assert read_scores(run) == read_scores(alone)
    described = [{k: v for k, v in read_manifest(path).items() if k not in ("argv", "config")} for path in (run, alone)]
    assert described[0] == described[1]


def test_a_killed_node_takes_no_row_with_it(alone: Path, cluster: Nodes, tmp_path: Path) -> None:
    """kill -9 of all processes of a node in mid-run: its unfinished rows run on the other, and none is there twice."""
    out = tmp_path / "run"
    run = subprocess.Popen(
        [str(CODECARD), *ASKED, str(out), "--workers", f"ray://127.0.0.1:{cluster.client_port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, "COLUMNS": "200"},
    )  # fmt: skip
    finished = out / "completions.jsonl"
    while run.poll() is None and not (finished.exists() and finished.read_bytes().count(b"\n") >= 3):
        threading.Event().wait(0.02)
    os.killpg(cluster.other, signal.SIGKILL)
    _, stderr = run.communicate(timeout=400)
    assert run.returncode == 0, stderr
    assert "unfinished rows run elsewhere" in stderr
    assert_same(out, alone)


@pytest.mark.long
def test_two_workers_write_the_same_completions_as_one_process(codecard: Command, alone: Path, tmp_path: Path) -> None:
    """Two actors of a cluster of this machine alone; done again, the same command has nothing left to do."""
    arguments = (*ASKED, tmp_path / "run", "--workers", "ray,actors=2,programs=1")
    done = codecard(*arguments, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "run", alone)
    again = codecard(*ASKED, tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert "0 completions to generate, 0 to execute" in again.stderr


def test_a_cluster_that_does_not_answer_is_told_in_one_line(codecard: Command, tmp_path: Path) -> None:
    """One line that says how to start one, at once; nothing is written."""
    where = f"127.0.0.1:{free_port()}"
    for form in (f"ray:{where}", f"ray://{where}"):
        done = codecard(*ASKED, tmp_path / "run", "--workers", form)
        assert done.returncode == 3
        assert len(done.stderr.strip().splitlines()) == 1
        assert "no Ray cluster answers" in done.stderr
        assert "ray start --head" in done.stderr
    assert not (tmp_path / "run").exists()
