#!/usr/bin/env python3
"""Bash against DAG on the same lab, in alternating pairs, and the table of it in docs/benchmarks.md.

    lab/bench/compare.py --dag-command './nightshift demo --run-only' [--pairs 5]

Each run starts from `lab reset`. Both sides are watched by the same two observers: the availability
probe, and a watcher that asks the API twice a second which nodes are cordoned; the wall clock runs
from the first cordon to the last uncordon. Runs are kept in a file, so an interrupted comparison
goes on where it stopped. Only a run that left every node on the target counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parents[1]
sys.path.insert(0, str(BENCH.parent))

from nslab import probe  # noqa: E402  (the path above makes these imports possible)
from nslab.build.store import write_text  # noqa: E402
from nslab.nodes import state  # noqa: E402
from nslab.settings import CACHE_DIR, TARGET_VERSION, Profile  # noqa: E402
from nslab.shell import LabError, run, wait_until  # noqa: E402

sys.path.insert(0, str(BENCH))
from cordons import Cordons, Watcher  # noqa: E402

LAB = BENCH.parent / "lab"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
SIDES = ("bash", "dag")
RESET_ATTEMPTS = 2


@dataclass(frozen=True)
class Run:
    """One measured upgrade."""

    side: str
    pair: int
    wall: float  # seconds from first cordon to last uncordon
    whole: float  # seconds the command took, with what it does before and after
    api_requests: int
    api_failed: int
    api_gap: float  # seconds
    web_requests: int
    web_failed: int
    web_gap: float  # seconds


def main() -> int:
    """Run what is missing, then write the table."""
    options = _arguments()
    profile = state.current().profile
    results = options.results or CACHE_DIR / "bench" / f"{profile.name}.jsonl"
    if options.fresh:
        results.unlink(missing_ok=True)
    commands = {"bash": str(BENCH / "upgrade.sh"), "dag": options.dag_command}
    for pair in range(1, options.pairs + 1):
        # Who begins changes from pair to pair, so that a slow drift of the machine hits both.
        for side in SIDES if pair % 2 else SIDES[::-1]:
            if side in options.sides and not any((r.side, r.pair) == (side, pair) for r in load(results)):
                prepare = options.dag_prepare if side == "dag" else ""
                _keep(results, measure(side, pair, commands[side], prepare, profile))
    table = render(load(results))
    print(table)
    if set(options.sides) == set(SIDES):
        write_page(options.page, profile.name, table, _context())
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--dag-command", default="./nightshift demo --run-only", help="ends when the DAG run has ended"
    )
    parser.add_argument(
        "--dag-prepare", default="", help="run after each reset, before the clock: e.g. enrolment"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--results", type=Path, help="file the runs are kept in (JSON lines)")
    parser.add_argument(
        "--fresh", action="store_true", help="forget runs kept from an earlier, interrupted comparison"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def measure(side: str, pair: int, command: str, prepare: str, profile: Profile) -> Run:
    """Reset the lab and measure one upgrade; raises `LabError` when it does not reach the target."""
    print(f"pair {pair}, {side}: reset", flush=True)
    _reset()
    if prepare:
        _call(prepare, {})
    directory = CACHE_DIR / "bench" / f"{profile.name}-{pair}-{side}"
    directory.mkdir(parents=True, exist_ok=True)
    probe.start(profile, directory / "requests.jsonl", max_seconds=3 * 3600)
    started = time.monotonic()
    try:
        with Watcher(state.KUBECONFIG) as watcher:
            print(f"pair {pair}, {side}: {command}", flush=True)
            _call(command, {"BENCH_RUN": f"{side}-{pair}"}, directory / "output.log")
            wait_until(watcher.all_uncordoned, "every node is uncordoned", 60, 0.5)
    finally:
        probe.stop()
    _require_target(profile)
    run_made = assemble(
        side,
        pair,
        watcher.cordons(),
        time.monotonic() - started,
        list(probe.read(directory / "requests.jsonl")),
    )
    print(f"pair {pair}, {side}: {run_made.wall:.0f} s", flush=True)
    return run_made


def assemble(side: str, pair: int, cordons: Cordons, whole: float, requests: Sequence[probe.Request]) -> Run:
    """Fold what the observers saw between first cordon and last uncordon (and 30 s after it) into one run."""
    if not cordons.complete:
        raise LabError(
            f"{side}, pair {pair}: no node was cordoned, so nothing was upgraded", "read its output.log"
        )
    end = cordons.last_uncordon + 30  # a late consequence of the upgrade is one, too
    seen = {
        s.target: s for s in probe.summarise(r for r in requests if cordons.first_cordon - 1 <= r.at <= end)
    }
    api, web = seen["api"], seen["web"]
    wall = round(cordons.last_uncordon - cordons.first_cordon, 1)
    return Run(
        side, pair, wall, round(whole, 1),
        api.count, api.failed, api.longest_gap, web.count, web.failed, web.longest_gap,
    )  # fmt: skip


def _reset() -> None:
    for attempt in range(1, RESET_ATTEMPTS + 1):
        done = subprocess.run([str(LAB), "reset"], check=False)
        if done.returncode == 0:
            return
        print(f"reset failed (attempt {attempt} of {RESET_ATTEMPTS})", file=sys.stderr, flush=True)
    raise LabError("the lab cannot be reset", "run `lab/lab status`")


def _call(command: str, extra: Mapping[str, str], log: Path | None = None) -> None:
    """Run a command from the repository's root; its output goes to `log` when one is given."""
    argv, environment = shlex.split(command), {**os.environ, **extra}
    if log is None:
        code = subprocess.run(argv, cwd=REPOSITORY, env=environment, check=False).returncode
    else:
        with log.open("wb") as sink:
            code = subprocess.run(
                argv, cwd=REPOSITORY, env=environment, check=False, stdout=sink, stderr=subprocess.STDOUT
            ).returncode
    if code:
        raise LabError(f"`{command}` ended with code {code}", f"read {log}" if log else "run it by hand")


def _require_target(profile: Profile) -> None:
    query = [
        "get",
        "nodes",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.status.nodeInfo.kubeletVersion} {end}",
    ]
    answer = run([str(state.KUBECTL), "--kubeconfig", str(state.KUBECONFIG), *query]).stdout
    versions = dict(pair.split("=") for pair in answer.split())
    behind = [n.name for n in profile.nodes if versions.get(n.name) != f"v{TARGET_VERSION}"]
    if behind:
        raise LabError(
            f"{', '.join(behind)} did not reach v{TARGET_VERSION}",
            "the run does not count; read its output.log",
        )


def load(results: Path) -> list[Run]:
    """Return the runs made so far; a line cut off by a kill is left out."""
    if not results.exists():
        return []
    return [
        Run(**json.loads(line))
        for line in results.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def _keep(results: Path, made: Run) -> None:
    lines = [json.dumps(asdict(r)) + "\n" for r in [*load(results), made]]
    write_text(results, "".join(lines))


def render(runs: Sequence[Run]) -> str:
    """Return the comparison as a Markdown table: medians, the ratio of pairs, and the worst gaps."""
    header = ["", "runs", "wall, median (min–max)", "API: failed of requests", "API: longest gap",
              "web: failed of requests", "web: longest gap"]  # fmt: skip
    lines = [header, ["---"] * len(header)]
    lines += [
        _row(side, [r for r in runs if r.side == side]) for side in SIDES if any(r.side == side for r in runs)
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    ratios = pair_ratios(runs)
    if not ratios:
        return table
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    return f"{table}\n\nRatio DAG / bash, median of {len(ratios)} pairs: **{statistics.median(ratios):.2f}** ({spread})."


def _row(side: str, runs: Sequence[Run]) -> list[str]:
    walls = [r.wall for r in runs]
    name = {"bash": "bash script", "dag": "Nightshift DAG"}[side]
    return [
        name,
        str(len(runs)),
        f"{statistics.median(walls):.0f} s ({min(walls):.0f}–{max(walls):.0f})",
        f"{sum(r.api_failed for r in runs)} of {sum(r.api_requests for r in runs)}",
        f"{max(r.api_gap for r in runs):.1f} s",
        f"{sum(r.web_failed for r in runs)} of {sum(r.web_requests for r in runs)}",
        f"{max(r.web_gap for r in runs):.1f} s",
    ]


def pair_ratios(runs: Sequence[Run]) -> list[float]:
    """Return DAG wall / bash wall of every pair that is complete."""
    walls = {(r.side, r.pair): r.wall for r in runs}
    pairs = sorted({r.pair for r in runs})
    return [walls["dag", p] / walls["bash", p] for p in pairs if ("dag", p) in walls and ("bash", p) in walls]


def write_page(page: Path, profile: str, table: str, context: str) -> None:
    """Put the table between the profile's markers of the page; everything else there stays."""
    begin, end = f"<!-- {profile}: begin -->", f"<!-- {profile}: end -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n## Profile `{profile}`\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, f"{before}{begin}\n{context}\n\n{table}\n{end}{after}")


def _context() -> str:
    """Return where and how the numbers were made."""
    commit = run(["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"], check=False).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"
    command = shlex.join(["lab/bench/compare.py", *sys.argv[1:]])
    return f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} at commit `{commit}` on {machine} with\n`{command}`."


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"compare: {error}", file=sys.stderr)
        sys.exit(1)
