#!/usr/bin/env python3
"""Time the HTML report: writing it, its size, and how long a browser takes to open it and one problem in it.

scripts/bench_report.py RUN [--repeat 5]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from selenium import webdriver

from codecard.files import write_text
from codecard.report.html import render_run
from codecard.runs.reading import read_run

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def open_once(page: Path) -> tuple[float, float]:
    """Seconds until the list is drawn, and until a problem deep in it is shown, in a fresh browser."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            started = time.perf_counter()
            driver.get(page.as_uri())
            while not driver.execute_script("return document.getElementById('count').textContent"):
                time.sleep(0.005)
            opened = time.perf_counter()
            driver.execute_script("const a = document.querySelectorAll('#list tbody a'); a[a.length - 1].click()")
            while not driver.execute_script("return document.getElementById('detail').open"):
                time.sleep(0.005)
            return opened - started, time.perf_counter() - opened
        finally:
            driver.quit()


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        started = time.perf_counter()
        run = read_run(args.run)
        write_text(page, render_run(run))
        written = time.perf_counter() - started
        opened, shown = zip(*(open_once(page) for _ in range(args.repeat)), strict=True)
        print(
            f"{len(run.histories):,} completions: written in {written:.1f} s, {page.stat().st_size / 1e6:.1f} MB; "
            f"opened in {statistics.median(opened):.2f} s (worst {max(opened):.2f}), "
            f"one problem shown in {statistics.median(shown):.2f} s"
        )


if __name__ == "__main__":
    main()
