"""The lab's command line, and enrolling its cluster."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime

from nsdemo.settings import PROJECT, DemoError, Home

CLUSTER = "lab"
_LAB = PROJECT / "lab" / "lab"


def lab_facts() -> dict[str, str]:
    """What `lab env` says; empty when the lab is down."""
    done = subprocess.run([str(_LAB), "env"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {}
    words = shlex.split(done.stdout)
    return dict(word.split("=", 1) for word in words if "=" in word)


def run_lab(*arguments: str) -> None:
    """Run a lab command with its own progress on the terminal.

    Raises:
        DemoError: it failed; it said why itself.
    """
    if subprocess.run([str(_LAB), *arguments], check=False).returncode != 0:
        raise DemoError(
            f"`lab/lab {' '.join(arguments)}` failed", "read what it said above, then run this again"
        )


def bring_up(profile: str, say: Callable[[str], None]) -> dict[str, str]:
    """Bring the lab to the fresh cluster: up when it is down, reset when it was used; returns its facts."""
    facts = lab_facts()
    if facts and facts.get("NSLAB_PROFILE") != profile:
        say(f"lab: it is up with profile {facts.get('NSLAB_PROFILE')}; taking it down for {profile}")
        run_lab("down")
        facts = {}
    if facts:
        run_lab("reset")
    else:
        run_lab("up", "--profile", profile)
    return lab_facts()


def enrol_lab(home: Home, facts: dict[str, str]) -> bool:
    """Enrol the lab's cluster; returns whether Airflow's connections changed.

    Raises:
        DemoError: enrolment failed; it said why itself.
    """
    before = home.connections.read_bytes() if home.connections.exists() else b""
    command = [sys.executable, "-m", "nightshift.cli", "enrol", "--cluster", CLUSTER]
    command += [
        "--kubeconfig",
        facts["KUBECONFIG"],
        "--ssh-user",
        "root",
        "--ssh-key",
        facts["NSLAB_SSH_KEY"],
    ]
    command += ["--known-hosts", facts["NSLAB_KNOWN_HOSTS"], "--write-env", str(home.connections)]
    if subprocess.run(command, check=False).returncode != 0:
        raise DemoError(
            "the lab's cluster could not be enrolled", "read what it said above, then run this again"
        )
    return home.connections.read_bytes() != before


def enrolled_at() -> datetime:
    """When the present cluster was enrolled first: nothing of Nightshift can have been at it before.

    Raises:
        DemoError: the cluster does not say.
    """
    query = ["kubectl", "get", "namespace", "nightshift", "-o", "jsonpath={.metadata.creationTimestamp}"]
    done = subprocess.run([str(_LAB), *query], capture_output=True, text=True, check=False)
    try:
        return datetime.fromisoformat(done.stdout.strip())
    except ValueError as error:
        raise DemoError(
            f"the cluster does not say when it was enrolled: {(done.stderr or done.stdout).strip()}",
            "look at the lab with `lab/lab status`, then run this again",
        ) from error


def lab_environment(facts: dict[str, str]) -> dict[str, str]:
    """What Airflow's processes must know of the lab beyond connections (see lab/clusters/lab.yaml)."""
    host = facts["NSLAB_REGISTRY"].rpartition(":")[0]
    return {"NIGHTSHIFT_LAB_INFRA": host}
