"""Run folders made of a few words, and a real browser that opens pages from files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Sample = str | Mapping[str, Any]
"""A verdict, or a row's fields."""
MakeRun = Callable[..., Path]

MANIFEST = {
    "suites": ["multipl_e"],
    "profile": {"name": "strict", "key": "0123"},
    "recipe": {"model": "made/up-1b", "sampling": {"temperature": 0.2, "top_p": 0.95}},
    "data": {"multipl_e/py": "aaaa", "multipl_e/cpp": "bbbb"},
    "limits": {"multipl_e/py": "1111", "multipl_e/cpp": "2222"},
    "images": {"py": "sha256:11", "cpp": "sha256:22"},
}


def rows_of(key: str, samples: Sequence[Sample]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Completion and execution row of each sample of `task:problem`."""
    task, problem = key.split(":", 1)
    for index, sample in enumerate(samples):
        given: dict[str, Any] = {"verdict": sample} if isinstance(sample, str) else dict(sample)
        verdict = given.get("verdict", "passed")
        text = given.pop("completion", f"    return {index}\n")
        identity = {"task": task, "problem": problem, "sample": index}
        completion = {
            **identity,
            "completion": text,
            "finish_reason": "stop",
            "prompt_tokens": 40,
            "new_tokens": 12,
            "seconds": 0.5,
        }
        if verdict == "not executed":
            yield completion, None
            continue
        void = "the container died" if verdict == "sandbox_error" else ""
        passed = None if void else verdict == "passed"
        execution = {
            **identity, "verdict": verdict, "passed": passed, "void": void, "stage": "run",
            "exit_code": 0 if passed else 1, "signal": None, "cpu_s": 0.1, "wall_s": 0.2,
            "peak_memory_bytes": 8_000_000, "stdout": "", "stderr": "",
            "image": "sha256:11", "attempts": 1, "program": f"def f():\n{text}\ncheck(f)\n", "key": "k",
        }  # fmt: skip
        yield completion, {**execution, **given}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, {"multipl_e/py:HumanEval_0_f": ["passed", "wrong"]}, profile=…)` → run folder."""

    def make(name: str, outcomes: Mapping[str, Sequence[Sample]], **manifest: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        pairs = [pair for key, samples in outcomes.items() for pair in rows_of(key, samples)]
        samples = max((len(found) for found in outcomes.values()), default=1)
        (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "samples": samples, **manifest}))
        problems = []
        for key in outcomes:
            task, problem = key.split(":", 1)
            cluster = "_".join(problem.split("_")[:2])
            problems.append({"task": task, "problem": problem, "cluster": cluster, "prompt": "def f():\n"})
        for file, rows in (
            ("problems.jsonl", problems),
            ("completions.jsonl", [completion for completion, _ in pairs]),
            ("executions.jsonl", [execution for _, execution in pairs if execution is not None]),
        ):
            (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        message = "no chromium; remedy: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI", "").lower() in {"1", "true", "yes"} else pytest.skip)(message)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Any]:
    """A browser; the test fails if its page wrote to the console or asked for anything but its own file."""
    _driver.get("about:blank")
    _driver.get_log("browser")
    _driver.get_log("performance")
    yield _driver
    messages = [entry["message"] for entry in _driver.get_log("browser")]
    events = [json.loads(entry["message"])["message"] for entry in _driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert messages == []
    assert [url for url in asked if not url.startswith(("file://", "about:"))] == []
    assert {url.split("#")[0] for url in asked if url.startswith("file://")} == {_driver.current_url.split("#")[0]}
