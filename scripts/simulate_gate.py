#!/usr/bin/env python3
"""Simulate pairs of runs with a known effect, and count how often the paired comparison tells the truth.

Prints the Markdown table of docs/statistics.md. Coverage: share of 95 % intervals that hold the true
difference. False alarms: share of `regression` decisions where the new model is no worse.

    scripts/simulate_gate.py [--runs 2000] [--seed 1]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecard.model import Decision
from codecard.stats.paired import MARGIN, decide, detectable_effect, paired_test

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class World:
    """A pair of models asked `clusters` problems in `languages` languages, `samples` times each.

    Pass rates are logistic: the models' mean skill, the problem (shared by the languages and the models), the
    problem in its language (shared by the models), and what sets the models apart, in part shared by the
    languages. `drop` is the new model's lack of skill on the logit scale.
    """

    name: str
    languages: int
    clusters: int
    samples: int
    skill: float = 0.0
    drop: float = 0.0
    problem_sd: float = 2.0
    language_sd: float = 1.5
    apart_sd: float = 0.7

    def rates(self, rng: np.random.Generator, clusters: int) -> tuple[Array, Array]:
        """True pass rates of base and new, each of shape (clusters, languages)."""
        shape = (clusters, self.languages)
        level = self.skill + self.problem_sd * rng.normal(size=(clusters, 1))
        level = level + self.language_sd * rng.normal(size=shape)
        sides = []
        for drop in (0.0, self.drop):
            apart = self.apart_sd * (rng.normal(size=(clusters, 1)) + rng.normal(size=shape))
            sides.append(1 / (1 + np.exp(-(level + apart - drop))))
        return sides[0], sides[1]

    def truth(self) -> float:
        """The difference of the models over all problems like these."""
        base, new = self.rates(np.random.default_rng(7), 1_000_000 // self.languages)
        return float((new - base).mean()) if self.drop else 0.0


WORLDS = (
    World(name="greedy, 6 languages", languages=6, clusters=161, samples=1),
    World(name="20 samples, 6 languages", languages=6, clusters=161, samples=20),
    World(name="greedy, 1 language", languages=1, clusters=161, samples=1),
    World(name="20 samples, 1 language", languages=1, clusters=161, samples=20),
    World(name="greedy, 1 language, weak model", languages=1, clusters=161, samples=1, skill=-3.0),
    World(name="greedy, 6 languages, starter suite", languages=6, clusters=12, samples=1),
    World(name="greedy, 6 languages, loss", languages=6, clusters=161, samples=1, drop=0.25),
    World(name="greedy, 6 languages, larger loss", languages=6, clusters=161, samples=1, drop=0.6),
    World(name="20 samples, 6 languages, loss", languages=6, clusters=161, samples=20, drop=0.25),
    World(name="20 samples, 6 languages, larger loss", languages=6, clusters=161, samples=20, drop=0.6),
    World(name="greedy, 1 language, larger loss", languages=1, clusters=161, samples=1, drop=0.6),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Shares over the simulated pairs of one world."""

    truth: float
    coverage: float
    regression: float
    no_regression: float
    detectable: float


def simulate(world: World, runs: int, seed: int, margin: float = MARGIN) -> Result:
    """Run the comparison on `runs` simulated pairs of `world`."""
    rng = np.random.default_rng(seed)
    truth = world.truth()
    clusters = [f"P_{c}" for c in range(world.clusters) for _ in range(world.languages)]
    covered = 0
    detectable = []
    decisions = []
    for _ in range(runs):
        base, new = world.rates(rng, world.clusters)
        difference = rng.binomial(world.samples, new) - rng.binomial(world.samples, base)
        test = paired_test((difference / world.samples).ravel(), clusters, seed=seed)
        covered += abs(test.delta - truth) <= test.bound(0.025)
        decisions.append(decide(test, margin))
        detectable.append(detectable_effect(test.se, test.df) or 0.0)
    return Result(
        truth=truth,
        coverage=covered / runs,
        regression=decisions.count(Decision.REGRESSION) / runs,
        no_regression=decisions.count(Decision.NO_REGRESSION) / runs,
        detectable=float(np.median(detectable)),
    )


def main() -> None:
    """Print one table row for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="pairs of runs in each world")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"| {args.runs} pairs, margin {MARGIN} | true | coverage | regression | no regression | detectable |")
    print("|---|---:|---:|---:|---:|---:|")
    for world in WORLDS:
        r = simulate(world, args.runs, args.seed)
        shares = f"{r.coverage:.1%} | {r.regression:.1%} | {r.no_regression:.1%}"
        print(f"| {world.name} | {r.truth:+.4f} | {shares} | {r.detectable:.3f} |", flush=True)


if __name__ == "__main__":
    main()
