#!/usr/bin/env python3
"""Simulate single runs of models whose pass rate is known, and count how often the shown interval holds it.

Prints the Markdown table of docs/statistics.md: coverage of the shown interval and, in brackets, of a plain
Student's t interval.

    scripts/simulate_intervals.py [--runs 2000] [--seed 1]
"""

from __future__ import annotations

import argparse

import numpy as np

from codecard.stats import mean_interval, mean_t_interval, pass_at_k

MEANS = (0.02, 0.1, 0.5, 0.9, 0.98)
CASES = ((1, 1), (5, 1), (20, 1), (20, 10), (200, 100))
PROBLEMS = (12, 35, 161)
CONCENTRATION = 0.6
"""Pass rates are Beta distributed and U-shaped, as real ones are: most problems are easy or hopeless."""


def coverage(problems: int, samples: int, k: int, mean: float, runs: int, seed: int) -> tuple[float, float]:
    """Shares of `runs` simulated runs whose shown interval, and whose t interval, hold the true pass@k."""
    rng = np.random.default_rng(seed)
    a, b = CONCENTRATION * mean, CONCENTRATION * (1 - mean)
    # E[(1-p)^k] of a Beta(a, b).
    truth = 1 - float(np.prod([(b + i) / (a + b + i) for i in range(k)]))
    value_of = np.array([pass_at_k(samples, c, k) for c in range(samples + 1)])
    names = [str(i) for i in range(problems)]
    shown = plain = 0
    for _ in range(runs):
        values = value_of[rng.binomial(samples, rng.beta(a, b, problems))]
        ours, t = mean_interval(values, names), mean_t_interval(values)
        shown += (ours.low or 0.0) <= truth <= (ours.high or 0.0)
        plain += (t.low or 0.0) <= truth <= (t.high or 0.0)
    return shown / runs, plain / runs


def main() -> None:
    """Print one table row for each size of benchmark and number of samples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs in each cell")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print("| problems | samples | k | " + " | ".join(f"mean rate {mean}" for mean in MEANS) + " |")
    print("|---:|---:|---:|" + "---:|" * len(MEANS))
    for problems in PROBLEMS:
        for samples, k in CASES:
            cells = []
            for mean in MEANS:
                shown, plain = coverage(problems, samples, k, mean, args.runs, args.seed)
                cells.append(f"{shown:.1%} ({plain:.0%})")
            print(f"| {problems} | {samples} | {k} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
