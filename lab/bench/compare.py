#!/usr/bin/env python3
"""Bash against DAG on the same lab, in alternating pairs, and the tables of it in docs/benchmarks.md.

    lab/bench/compare.py [--pairs 5]

Each run starts from `lab reset`, with no Airflow running on the script's side. Both sides are watched by the
same two observers: the availability probe, and a watcher that asks the API twice a second which nodes are
cordoned; the wall clock runs from the first cordon to the last uncordon. What the DAG waited at its own gates
between these two moments is taken from the ledger entry of that night and subtracted. Runs are kept in a file,
so an interrupted comparison goes on where it stopped. Only a run that left every node on the target counts; one that
did not, as when a gate refuses a night on a busy machine, is said and made again, twice at most.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parents[1]
sys.path.insert(0, str(BENCH.parent))

from bench import spent, tables  # noqa: E402  (the path above makes these imports possible)
from bench.cordons import Cordons, Watcher  # noqa: E402
from bench.runs import SIDES, NodeTimes, Run, keep, load  # noqa: E402
from nslab import probe  # noqa: E402
from nslab.build.store import write_text  # noqa: E402
from nslab.nodes import state  # noqa: E402
from nslab.settings import CACHE_DIR, FROM_VERSION, TARGET_VERSION, Profile  # noqa: E402
from nslab.shell import LabError, run, wait_until  # noqa: E402

LAB = BENCH.parent / "lab"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
RESET_ATTEMPTS = 2
RUN_ATTEMPTS = 3
# Where `./nightshift demo` keeps the ledger of the lab's cluster.
DEMO_LEDGER = Path(os.environ.get("NIGHTSHIFT_HOME", "/var/lib/nightshift"), "store", "lab", "ledger")


@dataclass(frozen=True)
class Spent:
    """What a side says of its own time."""

    gates: float  # seconds waited at gates between first cordon and last uncordon
    nodes: tuple[NodeTimes, ...]


def main() -> int:
    """Run what is missing, then write the tables."""
    options = _arguments()
    profile = _fresh_profile()
    results = options.results or CACHE_DIR / "bench" / f"{profile.name}.jsonl"
    if options.fresh:
        results.unlink(missing_ok=True)
    for pair in range(1, options.pairs + 1):
        # Who begins changes from pair to pair, so that a slow drift of the machine hits both.
        for side in SIDES if pair % 2 else SIDES[::-1]:
            if side in options.sides and not any((r.side, r.pair) == (side, pair) for r in load(results)):
                keep(results, _measured(side, pair, options, profile))
    made = load(results)
    shown = tables.render(made)
    print(shown)
    if set(options.sides) == set(SIDES):
        write_page(options.page, profile.name, shown, _context(made))
    return 0


def _fresh_profile() -> Profile:
    """The profile of the lab that is up; its fresh cluster must be the one both sides upgrade to the target."""
    lab = state.current()
    if lab.version != FROM_VERSION:
        raise LabError(
            f"the lab starts from {lab.version}, the comparison from {FROM_VERSION}",
            f"run `lab/lab down`, then `lab/lab up --profile {lab.profile_name}`",
        )
    return lab.profile


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--before-each",
        default="./nightshift demo --stop-airflow",
        help="run before each reset: nothing may look at a cluster that is being reset, or load the script's run",
    )
    parser.add_argument(
        "--settle", type=float, default=60, help="seconds of rest after each reset, for both sides"
    )
    parser.add_argument(
        "--dag-prepare",
        default="./nightshift demo --airflow-only",
        help="run before the DAG's clock: enrols the fresh cluster and starts Airflow",
    )
    parser.add_argument(
        "--dag-command",
        default="./nightshift demo --run-only",
        help="starts a run and ends when it has ended",
    )
    parser.add_argument(
        "--dag-ledger", type=Path, default=DEMO_LEDGER, help="directory the run's ledger entry is written to"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--results", type=Path, help="file the runs are kept in (JSON lines)")
    parser.add_argument(
        "--fresh", action="store_true", help="forget runs kept from an earlier, interrupted comparison"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def _measured(side: str, pair: int, options: argparse.Namespace, profile: Profile) -> Run:
    """Measure one upgrade; one that does not count is made again, so that a comparison of hours ends without a hand."""
    for attempt in range(1, RUN_ATTEMPTS):
        try:
            return replace(measure(side, pair, options, profile), discarded=attempt - 1)
        except LabError as error:
            print(
                f"pair {pair}, {side}: attempt {attempt} of {RUN_ATTEMPTS} does not count: {error}",
                flush=True,
            )
    return replace(measure(side, pair, options, profile), discarded=RUN_ATTEMPTS - 1)


def measure(side: str, pair: int, options: argparse.Namespace, profile: Profile) -> Run:
    """Reset the lab and measure one upgrade; raises `LabError` when it does not reach the target."""
    name = f"pair {pair}, {side}"
    directory = CACHE_DIR / "bench" / f"{profile.name}-{pair}-{side}"
    directory.mkdir(parents=True, exist_ok=True)
    phases = directory / "phases.txt"
    phases.unlink(missing_ok=True)  # an earlier attempt's
    script = shlex.join([str(BENCH / "upgrade.sh"), "--result", str(phases)])
    command = script if side == "bash" else options.dag_command
    print(f"{name}: reset", flush=True)
    _prepare(side, options)
    probe.start(profile, directory / "requests.jsonl", max_seconds=3 * 3600)
    started = time.monotonic()
    try:
        with Watcher(state.KUBECONFIG) as watcher:
            print(f"{name}: {command}", flush=True)
            _call(command, {"BENCH_RUN": f"{side}-{pair}"}, directory / "output.log")
            whole = time.monotonic() - started
            wait_until(watcher.all_uncordoned, "every node is uncordoned", 60, 0.5)
    finally:
        probe.stop()
    cordons = watcher.cordons()
    require_cordons(name, cordons)
    _require_target(profile)
    own = spent_by(side, phases, options.dag_ledger, cordons, profile)
    requests = list(probe.read(directory / "requests.jsonl"))
    made = assemble(side, pair, _origin(), cordons, whole, requests, own)
    print(f"{name}: {made.net:.0f} s without gates, {made.wall:.0f} s with them", flush=True)
    return made


def _prepare(side: str, options: argparse.Namespace) -> None:
    """A fresh cluster at rest, and for the DAG an Airflow that knows it."""
    if options.before_each:
        _call(options.before_each, {})
    _reset()
    # The DAG looks around for minutes before it cordons; the script would meet a cluster that has just booted.
    time.sleep(options.settle)
    if side == "dag" and options.dag_prepare:
        _call(options.dag_prepare, {})


def require_cordons(name: str, cordons: Cordons) -> None:
    """Refuse a run in which nothing was upgraded: a night that was blocked or held ends well, too."""
    if not cordons.complete:
        raise LabError(f"{name}: no node was cordoned, so nothing was upgraded", "read its output.log")


def spent_by(side: str, phases: Path, ledger: Path, cordons: Cordons, profile: Profile) -> Spent:
    """Ask the side that was measured what its time went into."""
    control_planes = [node.name for node in profile.nodes if node.role == "control-plane"]
    if side == "bash":
        return Spent(0.0, spent.of_script(phases, control_planes))
    entry = spent.find_entry(ledger, cordons)
    return Spent(spent.waited_at_gates(entry, cordons), spent.of_ledger(entry, control_planes))


def assemble(
    side: str,
    pair: int,
    origin: str,
    cordons: Cordons,
    whole: float,
    requests: Sequence[probe.Request],
    own: Spent,
) -> Run:
    """Fold what the observers saw between first cordon and last uncordon (and 30 s after it) into one run."""
    end = cordons.last_uncordon + 30  # a late consequence of the upgrade is one, too
    seen = {
        s.target: s for s in probe.summarise(r for r in requests if cordons.first_cordon - 1 <= r.at <= end)
    }
    api, web = seen["api"], seen["web"]
    return Run(
        side=side,
        pair=pair,
        origin=origin,
        wall=round(cordons.last_uncordon - cordons.first_cordon, 1),
        gates=own.gates,
        whole=round(whole, 1),
        api_requests=api.count,
        api_failed=api.failed,
        api_gap=api.longest_gap,
        web_requests=web.count,
        web_failed=web.failed,
        web_gap=web.longest_gap,
        nodes=own.nodes,
    )


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


def write_page(page: Path, profile: str, shown: str, context: str) -> None:
    """Put the tables between the profile's markers of the page; everything else there stays."""
    begin, end = f"<!-- {profile}: begin -->", f"<!-- {profile}: end -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n## Profile `{profile}`\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, f"{before}{begin}\n{context}\n\n{shown}\n{end}{after}")


def _origin() -> str:
    """Return day and commit of a run that is being measured."""
    said = run(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], check=False)
    return f"{time.strftime('%Y-%m-%d', time.gmtime())} at commit `{said.stdout.strip() or 'unknown'}`"


def _context(runs: Sequence[Run]) -> str:
    """Return where and how the numbers were made; runs kept from an interrupted comparison say their own origin."""
    origins = ", ".join(sorted({run.origin for run in runs}))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"
    command = shlex.join(["lab/bench/compare.py", *sys.argv[1:]])
    return f"Measured {origins} on {machine} with\n`{command}`."


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"compare: {error}", file=sys.stderr)
        sys.exit(1)
