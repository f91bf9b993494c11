# SPDX-License-Identifier: BSD-3-Clause
"""Unit plan makes the list of faults of one round from a seed, and nothing else: the same seed, the
same plan. A step is (seconds, target, fault, argument, seconds it lasts)."""

from dataclasses import dataclass

import fakes

REAL_FAULTS = ("pause",) * 3 + ("kill", "busy", "disconnect")


@dataclass(frozen=True)
class Step:
    at: float
    target: str
    fault: str
    argument: float
    lasts: float

    def __str__(self):
        return f"{self.at:7.3f} s  {self.target:<12} {self.fault:<10} {self.argument:.4f} " \
               f"for {self.lasts:.3f} s"


def make(rng, seconds, targets):
    """`targets` are (name, kind) with kind 'real', 'fake' or 'lone'. No server is mistreated in two
    ways at the same time, and some time is left to all of them between two faults."""
    steps = []
    for name, kind in targets:
        at = rng.uniform(0.2, 1.0)
        while at < seconds - 0.5:
            if kind == "real":
                fault = rng.choice(REAL_FAULTS)
                argument, lasts = 0.0, rng.uniform(0.02, 0.8)
            else:
                fault = rng.choice(fakes.FAULTS if kind == "fake" else fakes.LONE_FAULTS)
                argument, lasts = fakes.argument_of(fault, rng), fakes.lifetime_of(fault, rng)
            lasts = min(lasts, seconds - at)
            steps.append(Step(at, name, fault, argument, lasts))
            at += lasts + rng.uniform(0.05, 0.9)
    return sorted(steps, key=lambda step: (step.at, step.target))
