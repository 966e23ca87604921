#!/usr/bin/env python3
"""Kill the real Airflow and the real cluster at every moment of a night, and judge what comes of it.

    make chaos                        every case that has not passed on this code; goes on where it stopped
    lab/chaos/run.py --list           the cases with their strikes and how long they take
    lab/chaos/run.py --only NAME …    these cases, passed or not
    lab/chaos/run.py --fresh          all cases anew
    lab/chaos/run.py --judge FILE …   judge journals again, play nothing
    lab/chaos/run.py --pages          write the results into docs/safety.md and docs/benchmarks.md

It takes the lab (and resets it for every case) and port 8080; a demo's Airflow is stopped. Each case writes a journal,
one line per thing that was seen, named after the case; see docs/safety.md, "Chaos". What came of it is kept in
tests/lab/chaos.json: commit that file.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PLACES = [str(REPOSITORY / name) for name in ("plugins", "lab", "tools", ".")]
sys.path[:0] = [place for place in PLACES if place not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join(PLACES)  # of the programs it runs, e.g. enrol

from chaos import pages, results  # noqa: E402  (the paths above make these imports possible)
from chaos.catalogue import CASES, Case, case_named, combinations  # noqa: E402
from chaos.judge import Verdict, judge  # noqa: E402
from chaos.timeline import parse  # noqa: E402
from nslab.build.store import write_text  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked; 0 when nothing is wrong."""
    options = _parser().parse_args(arguments)
    if options.list:
        return _list(options.results)
    if options.judge:
        return max(_judge_file(path) for path in options.judge)
    if options.pages:
        return _pages(options.results)
    cases = [case_named(name) for name in options.only] if options.only else list(CASES)
    if not options.only and not options.fresh:
        cases = results.due(cases, results.load(options.results), results.fingerprint())
    return _play(cases, options.results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[c.name for c in CASES])
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--judge", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--results", type=Path, default=results.FILE)
    return parser


def _list(file: Path) -> int:
    rows = results.load(file)
    due = results.due(CASES, rows, results.fingerprint())
    for case in CASES:
        row = rows.get(case.name)
        said = (
            f"{row['outcome']} in {row['seconds'] / 60:.0f} min at {row['commit']}" if row else "not played"
        )
        if row and case in due:
            said += ", due again on this code"
        print(f"{case.name} ({case.profile}, about {case.minutes} min): {said}")
        for strike in case.strikes:
            print(f"    {strike.moment:27} {strike.fault} [{strike.place}] -> {strike.expect.name.lower()}")
    minutes = sum(case.minutes for case in CASES)
    print(
        f"{len(combinations(CASES))} combinations in {len(CASES)} cases, about {minutes // 60} h {minutes % 60} min"
    )
    return 0


def _play(cases: Sequence[Case], file: Path) -> int:
    from chaos.ground import ChaosWorld  # what plays needs the whole installation; the list does not
    from chaos.play import play

    world = ChaosWorld()
    failed = 0
    try:
        for number, case in enumerate(cases, 1):
            print(f"[{number} of {len(cases)}] {case.name}, about {case.minutes} min", flush=True)
            began, on = time.monotonic(), results.fingerprint()
            journal = results.directory() / f"{case.name}.jsonl"
            verdict = play(world, case, journal)
            results.keep(file, case, verdict, time.monotonic() - began, on)
            failed += not verdict.has_passed
            tell(case, verdict)
            print(f"  journal: {journal}", flush=True)
    finally:
        world.close()
    return 1 if failed else 0


def tell(case: Case, verdict: Verdict) -> None:
    """Say what came of a case."""
    for outcome in verdict.outcomes:
        seconds = "" if outcome.seconds is None else f" after {outcome.seconds:.1f} s"
        said = "; ".join(outcome.problems) or "as expected"
        print(
            f"  {outcome.strike.moment}: {outcome.strike.fault}: {outcome.how}{seconds}: {said}", flush=True
        )
    for breach in verdict.breaches:
        print(f"  BROKEN: {breach}", flush=True)
    print(f"  {case.name}: {'passed' if verdict.has_passed else 'FAILED'}", flush=True)


def _judge_file(path: Path) -> int:
    """Judge a journal by the rules of today; it is named after its case."""
    with path.open(encoding="utf-8") as lines:
        events = list(parse(lines))
    case = case_named(path.stem)
    verdict = judge(case, events)
    tell(case, verdict)
    return 0 if verdict.has_passed else 1


def _pages(file: Path) -> int:
    played = results.known(results.load(file))
    for name, shown in (("safety.md", pages.outcomes(played)), ("benchmarks.md", pages.times(played))):
        page = REPOSITORY / "docs" / name
        write_text(page, pages.put(page.read_text(encoding="utf-8"), shown))
        print(f"written: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
