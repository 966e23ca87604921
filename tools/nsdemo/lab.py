"""The lab's command line, and enrolling its cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime

from nsdemo.settings import CLUSTERS, PROJECT, DemoError, Home

CLUSTER = "lab"
# What the demo shows: from which version to which (nslab.settings has the same pair).
FROM_VERSION = "1.34.4"
TARGET_VERSION = "1.35.4"
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


def bring_up(profile: str, say: Callable[[str], None], version: str = FROM_VERSION) -> dict[str, str]:
    """Bring the lab to the fresh cluster of this shape, with everything a night needs; returns its facts.

    Whatever an earlier call was interrupted at, or this machine restarted in, is completed.
    """
    facts = lab_facts()
    present, wanted = (facts.get("NSLAB_PROFILE"), facts.get("NSLAB_VERSION")), (profile, version)
    if facts and present != wanted:
        say("lab: it is up as {} on {}; taking it down for {} on {}".format(*present, *wanted))
        run_lab("down")
    run_lab("up", "--fresh", "--profile", profile, "--version", version)
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
    environment = {**os.environ, **lab_environment(facts), "NIGHTSHIFT_CLUSTERS": str(CLUSTERS)}
    environment["NIGHTSHIFT_INSTALLATION"] = home.installation()
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise DemoError(
            "the lab's cluster could not be enrolled", "read what it said above, then run this again"
        )
    return home.connections.read_bytes() != before


def enrolled_at() -> datetime:
    """When the present cluster was enrolled first: nothing of Nightshift can have been at it before.

    Raises:
        DemoError: the cluster does not say.
    """
    said = _asked(
        "when it was enrolled", "namespace", "nightshift", "-o", "jsonpath={.metadata.creationTimestamp}"
    )
    try:
        return datetime.fromisoformat(said)
    except ValueError as error:
        raise _silent("when it was enrolled", said) from error


def nodes_behind() -> dict[str, str]:
    """Node -> kubelet version ("v1.34.4") of every node that is not on the demo's target.

    Raises:
        DemoError: the cluster does not say.
    """
    what = "which versions its nodes have"
    row = "{.metadata.name}={.status.nodeInfo.kubeletVersion}"
    said = _asked(what, "nodes", "-o", f"jsonpath={{range .items[*]}}{row} {{end}}")
    versions = dict(word.split("=", 1) for word in said.split() if "=" in word)
    if not versions:
        raise _silent(what, said)
    return {name: version for name, version in versions.items() if version != f"v{TARGET_VERSION}"}


def _asked(what: str, *query: str) -> str:
    """What `lab kubectl get` answers.

    Raises:
        DemoError: it failed.
    """
    done = subprocess.run([str(_LAB), "kubectl", "get", *query], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _silent(what, (done.stderr or done.stdout).strip())
    return done.stdout.strip()


def _silent(what: str, said: str) -> DemoError:
    return DemoError(
        f"the cluster does not say {what}: {said}",
        "look at the lab with `lab/lab status`, then run this again",
    )


def lab_environment(facts: dict[str, str]) -> dict[str, str]:
    """What Airflow's processes must know of the lab beyond connections (see lab/clusters/lab.yaml)."""
    host = facts["NSLAB_REGISTRY"].rpartition(":")[0]
    return {"NIGHTSHIFT_LAB_INFRA": host}
