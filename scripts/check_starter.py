#!/usr/bin/env python3
"""Check the starter suite: every known program must behave as its kind says.

Runs the programs of tasks/starter/*.programs.jsonl with the plain toolchains of this machine, without a
sandbox: they are our own, and this check must not lean on the executors that the suite is there to test.
Usage: python scripts/check_starter.py [LANG ...]; exit status 1 if anything is not as it should be.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SUITE = Path(__file__).resolve().parent.parent / "tasks" / "starter"
KINDS = ("good", "chat", "wrong", "build_error", "runtime_error", "timeout", "early_exit")
CPU_SECONDS = 5
"""CPU time of a run, so that a busy machine does not turn a good program into a timeout."""
WALL_SECONDS = 120
"""Safety net for a build or a run that waits instead of working."""
WORKERS = 2
BAD_AT_LEAST = 4
"""Problems that must have a program of each bad kind, in every language."""
CHATS = 2
MARKER = "the tests ran to their end: 6f1d"
JAVATUPLES = "/usr/share/java/javatuples.jar"
# Debian's compiler, not one that a version manager puts before it in the path.
RUSTC = "/usr/bin/rustc" if Path("/usr/bin/rustc").exists() else "rustc"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """How programs of one language are built (or only parsed), run, and told apart."""

    file: str
    build: list[str]
    run: list[str]
    say: str
    """A statement that prints the marker."""
    end: str
    """The end of the tests that the statement goes before; empty: it goes after the tests."""
    assertion: str
    """Pattern of what a failed assertion of the tests prints."""


TOOLCHAINS = {
    "py": Toolchain(
        file="program.py",
        build=["python3", "-m", "py_compile", "program.py"],
        run=["python3", "program.py"],
        say=f"print({MARKER!r})",
        end="",
        assertion=r"^AssertionError",
    ),
    "cpp": Toolchain(
        file="program.cpp",
        build=["g++", "-std=c++17", "program.cpp", "-o", "program"],
        run=["./program"],
        say=f'std::puts("{MARKER}");',
        end="}\n",
        assertion=r"Assertion `.*' failed",
    ),
    "java": Toolchain(
        file="Problem.java",
        build=["javac", "-encoding", "UTF8", "-cp", JAVATUPLES, "-d", "out", "Problem.java"],
        run=["java", "-ea", "-cp", f"{JAVATUPLES}:out", "Problem"],
        say=f'System.out.println("{MARKER}");',
        end="    }\n\n}\n",
        assertion=r"java\.lang\.AssertionError",
    ),
    "js": Toolchain(
        file="program.js",
        build=["node", "--check", "program.js"],
        run=["node", "program.js"],
        say=f'console.log("{MARKER}");',
        end="",
        assertion=r"^AssertionError",
    ),
    "php": Toolchain(
        file="program.php",
        build=["php", "-l", "program.php"],
        run=["php", "program.php"],
        say=f'echo "{MARKER}";',
        end="",
        assertion=r"Uncaught Exception: Test failed!",
    ),
    "rs": Toolchain(
        file="program.rs",
        build=[RUSTC, "program.rs", "-o", "program"],
        run=["./program"],
        say=f'println!("{MARKER}");',
        end="}\n",
        # rustc 1.73 changed the wording.
        assertion=r"assertion (failed: `\(left == right\)`|`left == right` failed)",
    ),
}


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def completion_of(row: Row, problem: Row) -> str:
    """The completion of a program row; for a chat answer, what its code block has after the signature.

    Deliberately naive: the answers here repeat the signature on one line and need no import of their own.
    """
    if row["kind"] != "chat":
        return str(row["completion"])
    code = re.split(r"^```.*\n?", row["answer"], flags=re.MULTILINE)[1]
    name = re.findall(r"(\w+)\(", problem["prompt"].strip().replace('"""', "").split(">>>")[1])[0]
    return "\n" + code.split(f"{name}(", 1)[1].split("\n", 1)[1]


def cut(completion: str, stop_tokens: list[str]) -> str:
    ends = [completion.find(stop) for stop in stop_tokens]
    return completion[: min((end for end in ends if end >= 0), default=len(completion))]


def source_of(row: Row, problem: Row) -> str:
    """The whole program, with a statement at the end of its tests that prints the marker."""
    tools = TOOLCHAINS[problem["language"]]
    tests = problem["tests"]
    if not tests.endswith(tools.end):
        raise ValueError(f"{problem['name']}: the tests do not end with {tools.end!r}")
    tests = f"{tests.removesuffix(tools.end)}\n{tools.say}\n{tools.end}"
    return f"{problem['prompt'].strip()}{cut(completion_of(row, problem), problem['stop_tokens'])}\n{tests}"


def observe(row: Row, problem: Row) -> tuple[str, str]:
    """Build and run one program; returns the kind that it shows itself to be, and what it printed."""
    tools = TOOLCHAINS[problem["language"]]
    with tempfile.TemporaryDirectory(prefix="starter-") as folder:
        (Path(folder) / tools.file).write_text(source_of(row, problem), encoding="utf-8")
        built = execute(tools.build, folder)
        if built.returncode != 0:
            return "build_error", built.stdout
        limited = ["sh", "-c", f'ulimit -c 0; ulimit -t {CPU_SECONDS}; exec "$@"', "sh", *tools.run]
        ran = execute(limited, folder)
    # Past the CPU limit the kernel kills (soft and hard limit are the same): SIGKILL, or SIGXCPU just before.
    if ran.returncode in (-9, -24):
        return "timeout", ran.stdout
    if ran.returncode == 0:
        return ("good" if MARKER in ran.stdout else "early_exit"), ran.stdout
    asserted = re.search(tools.assertion, ran.stdout, re.MULTILINE)
    return ("wrong" if asserted else "runtime_error"), ran.stdout


def execute(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=WALL_SECONDS,
        check=False,
    )


def flaws(language: str, problems: list[Row], rows: list[Row], names: list[str]) -> Iterator[str]:
    """What is wrong with the files themselves, before anything runs."""
    if [p["name"] for p in problems] != names:
        yield "the problems are not those of py, in the same order"
    for index, problem in enumerate(problems):
        if not problem["name"].startswith(f"Starter_{index}_") or problem["language"] != language:
            yield f"{problem['name']}: name or language does not fit line {index + 1} of {language}.jsonl"
        asserts = len(re.findall(r"assert[\w.!]* ?\(|assert candidate|!== ", problem["tests"]))
        if asserts < BAD_AT_LEAST or problem["prompt"].count(">>>") != 2:
            yield f"{problem['name']}: fewer than four assertions, or not two examples"
    having: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        having[row["kind"]][row["name"]] += 1
        if row["kind"] != "chat" and not row["completion"].startswith("\n"):
            yield f"{row['name']} {row['kind']}: the completion does not start on a new line"
    if unknown := set(having) - set(KINDS) or {r["name"] for r in rows} - set(names):
        yield f"unknown kinds or problems: {sorted(unknown)}"
    if any(count > 1 for counts in having.values() for count in counts.values()):
        yield "a problem has two programs of one kind"
    needed = dict.fromkeys(KINDS, BAD_AT_LEAST) | {"good": len(names), "chat": CHATS}
    for kind, least in needed.items():
        if len(having[kind]) < least:
            yield f"{kind}: programs for {len(having[kind])} problems, {least} are needed"


def check(language: str, names: list[str], console: Console) -> bool:
    """Check one language and print its table; True if all is as it should be."""
    problems = read(SUITE / f"{language}.jsonl")
    rows = read(SUITE / f"{language}.programs.jsonl")
    complaints = list(flaws(language, problems, rows, names))
    by_name = {problem["name"]: problem for problem in problems}
    rows = [row for row in rows if row["name"] in by_name]
    with ThreadPoolExecutor(WORKERS) as pool:
        shown = list(pool.map(lambda row: observe(row, by_name[row["name"]]), rows))
    expected: Counter[str] = Counter()
    ok: Counter[str] = Counter()
    for row, (kind, output) in zip(rows, shown, strict=True):
        expected[row["kind"]] += 1
        if kind == ("good" if row["kind"] == "chat" else row["kind"]):
            ok[row["kind"]] += 1
        else:
            complaints.append(f"{row['name']} {row['kind']}: turned out {kind}\n{output[-1500:]}")
    table = Table("kind", "expected", "ok", title=f"starter/{language}", title_justify="left")
    for kind in KINDS:
        table.add_row(kind, str(expected[kind]), str(ok[kind]))
    console.print(table)
    for complaint in complaints:
        console.print(f"starter/{language}: {complaint}", markup=False, highlight=False)
    return not complaints


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the starter suite with this machine's toolchains.")
    parser.add_argument("language", nargs="*", metavar="LANG", help=f"of {' '.join(TOOLCHAINS)}; default all")
    languages = parser.parse_args().language or list(TOOLCHAINS)
    if unknown := [language for language in languages if language not in TOOLCHAINS]:
        parser.error(f"no such language: {', '.join(unknown)}")
    commands = {tool for lang in languages for tool in (TOOLCHAINS[lang].build[0], TOOLCHAINS[lang].run[0])}
    if missing := sorted(c for c in commands if not c.startswith("./") and not shutil.which(c)):
        parser.error(f"not found on this machine: {', '.join(missing)}")
    names = [problem["name"] for problem in read(SUITE / "py.jsonl")]
    console = Console()
    good = [check(language, names, console) for language in languages]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
