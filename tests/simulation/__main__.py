"""`python -m tests.simulation`: many seeds, or one with its trace."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.campaign import hunt, run
from tests.simulation.mutants import MUTANTS, broken
from tests.simulation.world import World, installed


def main() -> int:
    """Read the command line; exit code 1 when an invariant was broken or a pair of step and fault is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--workers", type=int, help="processes; default: one per core")
    parser.add_argument("--seed", type=int, help="play this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every call")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break the product like this first")
    parser.add_argument("--mutants", action="store_true", help="find each mutant within 500 seeds")
    words = parser.parse_args()
    if words.seed is not None:
        return _one(words.seed, words.mutant, is_traced=words.trace)
    if words.mutants:
        return _mutants()
    began = time.monotonic()
    report = run(words.first, words.seeds, words.workers)
    print("\n".join(report.lines()))
    print(f"{time.monotonic() - began:.0f} s")
    return int(bool(report.failures or report.missing))


def _one(seed: int, mutant: str | None, *, is_traced: bool) -> int:
    with broken(mutant):
        world = World(seed, is_traced=is_traced)
        print(f"seed {seed}: {len(world.cluster.members)} control planes; faults: {world.planned}")
        with installed(world.hub):
            result = world.run()
    print("\n".join(result.trace))
    print(f"{result.events} events, {result.seconds:.0f} s; " + ("; ".join(result.breaches) or "no breach"))
    return int(bool(result.breaches))


def _mutants() -> int:
    missed = 0
    for name in MUTANTS:
        found = hunt(name, 500)
        missed += found is None
        print(
            f"{name}: " + (f"seed {found[0]}: {found[1]}" if found else "not found within 500 seeds"),
            flush=True,
        )
    return int(missed > 0)


sys.exit(main())
