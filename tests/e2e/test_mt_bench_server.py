"""MT-Bench through a real server of a real model, killed twice on the way.

The server is transformers' own (`transformers serve`) with the embedded model. A gate stands before it: it logs
every prompt, passes it on, and can hold what comes after a given number, so that a kill finds nothing under way.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Message, open_generator
from codecard.model import InfrastructureError, Sampling
from servers import Body, Handler, cut, endless, first_fails, raw, serving, status

pytestmark = [pytest.mark.xdist_group("one server"), pytest.mark.embedded, pytest.mark.data]

START_S, ANSWER_S, RUN_S = 600, 900, 3000
"""Generous: only a hanging process meets them."""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str, str], None]
) -> Iterator[tuple[str, str, Path]]:
    """Address, model name and access log of `transformers serve` with the embedded model."""
    for package in ("fastapi", "uvicorn", "openai"):
        try:
            __import__(package)
        except ImportError:
            absent(f"no {package}", "pip install fastapi uvicorn 'codecard[openai]'")
    from codecard.generate.embedded import embedded_folder

    try:
        folder = embedded_folder()
    except InfrastructureError as error:
        absent("no embedded model", str(error))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "access.log"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32", str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}", str(folder), log
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        threading.Event().wait(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()[-2000:]}")


class Gate:
    """Passes requests on to `target`; after `open_for` of them it holds the rest until it is opened again."""

    def __init__(self, target: str, model: str) -> None:
        self.target = target
        self.model = model
        self.passed: list[Body] = []
        self.open_for = 10**9
        self.held = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, handler: Handler, body: Body) -> None:
        with self._lock:
            passing = len(self.passed) < self.open_for
            if passing:
                self.passed.append(body)
        if not passing:
            self.held.set()
            handler.close_connection = True
            handler.rfile.read(1)  # until the client, killed, hangs up
            return
        content = json.dumps(body | {"model": self.model}).encode()
        request = urllib.request.Request(f"{self.target}{handler.path}", content, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                handler.send(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            handler.send(error.code, error.read())


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def finished(out: Path) -> int:
    return len(rows(out / "completions.jsonl")) + len(rows(out / "judgments.jsonl"))


def kill_after(gate: Gate, count: int, start: Callable[[], subprocess.Popen[bytes]], out: Path) -> None:
    """Start, let `count` requests through in all, wait until each is in a journal, then SIGKILL."""
    gate.open_for = count
    gate.held.clear()
    process = start()
    try:
        assert gate.held.wait(RUN_S), "the run never came to the held request"
        until = time.monotonic() + RUN_S
        while finished(out) < count and process.poll() is None and time.monotonic() < until:
            threading.Event().wait(0.1)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert finished(out) == count


def asked(url: str, out: Path, *, limit: int) -> list[str]:
    """The command that has one server answer and judge `limit` questions, shortly."""
    command = [str(Path(sys.executable).with_name("codecard")), "run", "--suite", "mt_bench", "--out", str(out)]
    command += ["--limit", str(limit), "--batch-size", "2"]
    command += ["--model", "openai:smol", "--base-url", url, "--max-new-tokens", "8"]
    return [*command, "--judge", "openai:smol", "--judge-base-url", url, "--judge-max-new-tokens", "8"]


def test_killed_run_answers_and_judges_all_and_pays_no_prompt_twice(
    server: tuple[str, str, Path], data_dir: Path, tmp_path: Path
) -> None:
    """A judging that started over after a crash would pay for every judgment again."""
    url, model, access = server
    gate = Gate(url, model)
    out = tmp_path / "run"
    before = access.read_text().count("POST /v1/chat/completions")
    with serving(gate) as front:
        command = asked(front.url, out, limit=5)
        environment = os.environ | {"CODECARD_DATA": str(data_dir), "OPENAI_API_KEY": "sk-test-never-written"}
        log = (tmp_path / "log").open("wb")

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

        kill_after(gate, 7, start, out)  # among the second turns
        kill_after(gate, 13, start, out)  # among the judgments
        gate.open_for = 10**9
        last = start()
        assert last.wait(RUN_S) in (0, 3), (tmp_path / "log").read_text()[-2000:]
        again = start()
        assert again.wait(RUN_S) == last.returncode
        log.close()
    assert len(gate.passed) == 20
    assert len({json.dumps(body, sort_keys=True) for body in gate.passed}) == 20
    assert access.read_text().count("POST /v1/chat/completions") - before == 20
    answers = {(row["problem"], row.get("turn", 1)): row["answer"] for row in rows(out / "completions.jsonl")}
    assert len(answers) == 10
    judged = {(row["problem"], row["turn"]) for row in rows(out / "judgments.jsonl")}
    assert judged == set(answers)
    second = [body["messages"] for body in gate.passed if len(body["messages"]) == 3]
    assert len(second) == 5
    assert {turns[1]["content"] for turns in second} == {a.strip() for (_, turn), a in answers.items() if turn == 1}
    score = json.loads((out / "scores.json").read_text())["mt_bench/coding"]["score"]
    unrated = sum(row["rating"] is None for row in rows(out / "judgments.jsonl"))
    assert score["void"] == unrated
    assert (score["value"] is None) == (unrated > 0)
    assert "judge smol; not comparable with the card" in (out / "tables.md").read_text()
    assert not any(b"sk-test-never-written" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_server_and_local_model_write_the_same(server: tuple[str, str, Path]) -> None:
    """A prompt that the server's template renders otherwise is another question."""
    url, model, _ = server
    chat = (Message(role="user", content="Write a Python function that adds two numbers."),)
    prompts: list[str | tuple[Message, ...]] = ["def fibonacci(n):\n", chat]
    requests = [
        GenerationRequest(
            task="t", problem=str(number), sample=0, sampling=Sampling(max_new_tokens=12), prompt=prompt,
            stops=("<|im_end|>",) if number else (),
        )
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip
    texts = []
    for generator in (open_generator("embedded"), open_generator(f"openai:{model}", base_url=f"{url}/v1")):
        found = {completion.problem: completion.text for completion in generator.generate(requests)}
        generator.close()
        texts.append({name: text.removesuffix("<|im_end|>") for name, text in found.items()})
    assert texts[0] == texts[1]
    assert all(texts[0].values())


def test_faults_before_the_real_server_cost_retries_then_voids(
    server: tuple[str, str, Path], data_dir: Path, tmp_path: Path
) -> None:
    """First the judge never answers, then every request fails once in another way: no crash and no false score."""
    url, model, _ = server
    gate, out = Gate(url, model), tmp_path / "run"
    faults = itertools.cycle([status(429, retry_after="0"), status(500), cut, raw(b'{"choices": ['), endless])

    def failing(handler: Handler, body: Body) -> None:
        next(faults)(handler, body)

    lasting, passing = first_fails(failing, 10**9, gate), first_fails(failing, 1, gate)
    broken = threading.Event()
    broken.set()

    def behave(handler: Handler, body: Body) -> None:
        judging = body["messages"][0]["role"] == "system"
        (lasting if judging and broken.is_set() else passing)(handler, body)

    with serving(behave) as front:
        command = asked(front.url, out, limit=2)
        environment = os.environ | {"CODECARD_DATA": str(data_dir)}
        first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)
        answers = rows(out / "completions.jsonl")
        assert (first.returncode, len(answers), len(gate.passed)) == (3, 4, 4), first.stderr
        score = json.loads((out / "scores.json").read_text())["mt_bench/coding"]["score"]
        assert (score["value"], score["void"]) == (None, 4)
        assert all(row["rating"] is None and "did not answer" in row["void"] for row in rows(out / "judgments.jsonl"))
        broken.clear()
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert second.returncode in (0, 3), second.stderr
    assert rows(out / "completions.jsonl") == answers
    assert len(gate.passed) == 8
    last = {(row["problem"], row["turn"]): row for row in rows(out / "judgments.jsonl")}
    assert len(last) == 4
    assert all(isinstance(row["judgment"], str) for row in last.values())
