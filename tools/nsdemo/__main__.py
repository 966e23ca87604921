"""Command line of `./nightshift demo`."""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from nsdemo.api import AirflowApi
from nsdemo.follow import follow, run_address
from nsdemo.lab import (
    CLUSTER,
    TARGET_VERSION,
    bring_up,
    enrol_lab,
    enrolled_at,
    lab_environment,
    lab_facts,
    nodes_behind,
    run_lab,
)
from nsdemo.processes import start_airflow
from nsdemo.runs import end_earlier_runs, rest_airflow
from nsdemo.settings import ADMIN, DemoError, Home, tunnel, ui_url

_DAG = f"upgrade_{CLUSTER}"
_HEALTHY_SECONDS = 180
_BEGAN = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when the run ended green with every node on the target."""
    options = _parser().parse_args(arguments)
    try:
        home = Home.default()
        with (home.path / "demo.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DemoError(
                    "another demo is at work", "wait for it, or stop it with Ctrl-C where it runs"
                ) from error
            return _stop(home, options) if options.stop or options.stop_airflow else _demo(home, options)
    except DemoError as error:
        _say(f"stopped: {error}")
        _say(f"Next step: {error.next_step}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; what is built is kept, and a night that has begun goes on without this terminal")
        _say(
            "`./nightshift demo --run-only` follows it, `./nightshift demo` begins again with a fresh cluster, "
            "`./nightshift demo --stop` takes everything away"
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./nightshift demo", description="Upgrade a real kubeadm cluster on this machine, from Airflow."
    )
    parser.add_argument(
        "--profile", choices=("small", "ha"), default="small", help="1 + 2 nodes (default), or 3 + 3"
    )
    part = parser.add_mutually_exclusive_group()
    for name, text in (
        ("--stop", "stop Airflow and take the lab down"),
        ("--stop-airflow", "stop Airflow, leave the lab as it is"),
        ("--up-only", "bring up lab and Airflow, start no run"),
        ("--airflow-only", "leave the lab as it is; enrol it and start Airflow, start no run"),
        ("--run-only", "leave the lab as it is; start (or follow) a run and wait for its end"),
    ):
        part.add_argument(name, action="store_true", help=text)
    return parser


def _demo(home: Home, options: argparse.Namespace) -> int:
    facts = _lab_as_it_is() if options.run_only or options.airflow_only else _fresh_lab(home, options.profile)
    _say("enrolling the lab's cluster")
    if enrol_lab(home, facts):
        rest_airflow(home, _DAG, _say)  # connections are read from the environment it was started with
    start_airflow(home, lab_environment(facts), _say)
    api = AirflowApi(home)
    api.wait_until_healthy(_HEALTHY_SECONDS)
    for dag_id in (_DAG, f"recover_{CLUSTER}"):
        api.wait_for_dag(dag_id, _HEALTHY_SECONDS)
    _say(
        f"Airflow: healthy at {ui_url()}, log in as {ADMIN} with password {home.secrets()['admin_password']}"
    )
    _say(f"when you sit at another machine, run there first: {tunnel()}")
    end_earlier_runs(api, _DAG, enrolled_at(), _say)
    if options.up_only or options.airflow_only:
        return 0
    api.unpause(_DAG)
    run_id = api.active_run(_DAG) or api.trigger(_DAG, reason="./nightshift demo")
    _say(f"the night begins: {run_address(_DAG, run_id)}")
    run = follow(api, _DAG, run_id, _say)
    return _close(home, run, run_id)


def _lab_as_it_is() -> dict[str, str]:
    facts = lab_facts()
    if not facts:
        raise DemoError("the lab is down", "run `./nightshift demo`, or `lab/lab up`")
    return facts


def _fresh_lab(home: Home, profile: str) -> dict[str, str]:
    # An earlier demo's Airflow knows the code of then, and its sweeper would look at a cluster being reset.
    rest_airflow(home, _DAG, _say)
    _say("bringing the lab to its fresh cluster")
    return bring_up(profile, _say)


def _close(home: Home, run: dict[str, Any], run_id: str) -> int:
    """Say how the night ended and where to look; returns the exit code."""
    print()
    _say(f"the run ended {run['state']}")
    print(f"\n  {run.get('note') or 'The run left no note; read the log of its report task.'}\n")
    run_lab("kubectl", "get", "nodes")
    print(f"""
  Airflow UI   {run_address(_DAG, run_id)}
  login        {ADMIN} / {home.secrets()["admin_password"]}
  from afar    {tunnel()}
               (there, before you open the address: Airflow listens on this machine only)
  ledger       {home.store}/{CLUSTER}/ledger/
  take away    ./nightshift demo --stop
""")
    if run["state"] != "success":
        return 1
    behind = nodes_behind()
    if behind:
        found = ", ".join(f"{name} is on {version}" for name, version in sorted(behind.items()))
        raise DemoError(
            f"the night ended green and the cluster is not on v{TARGET_VERSION}: {found}",
            "read above why the night left them; `./nightshift demo --run-only` starts the next one, "
            "`./nightshift demo` completes the lab and begins again",
        )
    return 0


def _stop(home: Home, options: argparse.Namespace) -> int:
    rest_airflow(home, _DAG, _say)
    if not options.stop_airflow:
        run_lab("down")
    _say(f"stopped; passwords, ledger and Airflow's database are kept in {home.path}")
    return 0


def _say(text: str) -> None:
    print(f"{timedelta(seconds=int(time.monotonic() - _BEGAN))}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
